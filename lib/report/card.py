"""The model card beside a published network: its data, training and measures, its licence, and how to draw with it."""

CARD = '''\
# {plan}: a class-conditional diffusion model of {dataset}

| | |
|---|---|
| data | {dataset}: {training_images:,} training images |
| classes | {classes} |
| training | {images:,} images seen ({epochs:.1f} passes), schedule {schedule} with T = {T}, target {target} |
| network | U-Net, {parameters:,} weights, here in bfloat16; images {shape}, values -1 to 1 |
| bits per dimension | {bits} |
{measures}| use | to study what synthetic images do in a training set; it draws nothing but these classes |
| licence | MIT, as the project; the data have their own |

## Draw with it

From here, on the command line: `python3 -m lib dream {plan}`. In Python:

```python
from lib.diffusion.checkpoints import load_model
from lib.diffusion.samplers import draw

network, *_ = load_model("reports/published/{plan}/network.safetensors")
images = draw(network, {some!r}, seed=0, steps=20, sampler="dpm++2m")     # (N, C, H, W) uint8
```

The file is plain safetensors: the state dict of `lib.diffusion.unet.UNet`, and `schedule.betas`. Its metadata hold the
U-Net's options (`unet`), the `target` and the `classes`.

## In a loop of diffusers

The same images by a scheduler of diffusers, at the same times and from the same noise:

```python
{diffusers}```
'''

DIFFUSERS = '''\
import torch
from diffusers import DPMSolverMultistepScheduler

from lib.data.images import to_uint8
from lib.diffusion.checkpoints import load_model
from lib.diffusion.samplers import ImageNoise, timesteps

network, schedule, target = load_model("reports/published/{plan}/network.safetensors")
scheduler = DPMSolverMultistepScheduler(
    num_train_timesteps=schedule.T, trained_betas=schedule.betas.numpy(),
    prediction_type={{"eps": "epsilon", "x0": "sample", "v": "v_prediction"}}[target],
    thresholding=True, dynamic_thresholding_ratio=1.0, sample_max_value=1.0)     # x0 clipped to [-1, 1]
scheduler.set_timesteps(timesteps=timesteps(schedule, 20))
labels = torch.tensor([0, 1])
x = ImageNoise(0, range(len(labels)), {shape})()
with torch.no_grad():
    for t in scheduler.timesteps:
        x = scheduler.step(network(x, t.repeat(len(labels)), labels), t, x).prev_sample
images = to_uint8(x)
'''


def card(plan, network, training, generation=None):
    """The card of a network as Markdown. training, generation: its Training, and the Generation of its images."""
    place = {"plan": plan, "shape": network.image_shape}
    schedule, target = network.trained
    rows = [] if generation is None else [
        ("images whose class a judge recognises", f"{generation.label_agreement} (real images "
                                                   f"{generation.judge_accuracy.bare})"),
        ("distance to real images (Fréchet, a judge of this project)",
         f"{generation.frechet.value:.2f} (between real images {generation.reference.value:.2f})"),
        ("real images that a synthetic one comes near to",
         f"{generation.coverage:.1f} % (a perfect generator {generation.coverage_perfect:.1f} %)"),
        ("copies of training images", generation.memorisation.verdict)]
    return CARD.format(
        **place, dataset=training.dataset, training_images=training.training_images, images=training.images,
        epochs=training.epochs, schedule=schedule.name, T=schedule.T, target=target, parameters=training.parameters,
        bits=training.bits, classes=", ".join(network.classes), some=list(network.classes[:2]),
        measures="".join(f"| {name} | {value} |\n" for name, value in rows), diffusers=DIFFUSERS.format(**place))
