"""What the bench compares us with: the same work done by other libraries, or by the loop that one would write.

A side is a function of a Job that gives (network, iterator); each next() of the iterator does one round, the job's
steps. ImportError where the library is not installed. Each follows the example of its library, and its images are float
tensors in memory unless its name says otherwise. Nothing but lib.bench uses this module.
"""
import dataclasses
import itertools
import math

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from lib.data.images import to_float
from lib.study.classifiers import CNN

CLASSES, T = 10, 1000


@dataclasses.dataclass(frozen=True)
class Job:
    """A round's work: `steps` steps, each with `batch` images for each of `members` networks."""

    shape: tuple                    # of an image (C, H, W)
    batch: int
    steps: int                      # of the optimiser, or of the sampler
    members: int = 1
    unet: dict = None               # channels, channel_mult, num_res_blocks, attn_resolutions; lucidrains: its width
    classifier: tuple = None        # class and widths
    device: torch.device = torch.device("cpu")
    rounds: int = 1                 # that are timed, after one to warm up
    compiled: str = "auto"          # our networks: see lib.diffusion.devices.Forward

    def data(self, count=5000):
        """Images of noise, uint8, and their labels."""
        g = torch.Generator().manual_seed(0)
        return (torch.randint(256, (count, *self.shape), generator=g, dtype=torch.uint8),
                torch.randint(CLASSES, (count,), generator=g))

    def labels(self):
        """One for each image of a batch to sample."""
        return torch.arange(self.batch, device=self.device) % CLASSES


def resident(job, data=None):
    """Endless batches of float images that lie on the device, and their labels. data: uint8, labels; noise if None."""
    images, labels = data or job.data()
    images, labels = to_float(images).to(job.device), labels.to(job.device)
    while True:
        for index in torch.randperm(len(images), device=job.device).split(job.batch)[:len(images) // job.batch]:
            yield images[index], labels[index]


def from_loader(job, dataset):
    """Endless batches of a DataLoader, moved to the device."""
    loader = DataLoader(dataset, job.batch, shuffle=True, drop_last=True)
    while True:
        for x, y in loader:
            yield x.to(job.device), y.to(job.device)


# ---------------------------------------------------------------- diffusion
def diffusers_unet(job):
    """The architecture of lib.unet: the same widths, blocks, attention, and conditioning on time and class."""
    from diffusers import UNet2DModel
    o, side = job.unet, job.shape[1]
    attends = ["Attn" if side >> i in o["attn_resolutions"] else "" for i in range(len(o["channel_mult"]))]
    return UNet2DModel(
        sample_size=side, in_channels=job.shape[0], out_channels=job.shape[0], layers_per_block=o["num_res_blocks"],
        block_out_channels=[o["channels"] * m for m in o["channel_mult"]], add_attention=bool(o["attn_resolutions"]),
        down_block_types=[a + "DownBlock2D" for a in attends], up_block_types=[a + "UpBlock2D" for a in attends[::-1]],
        attention_head_dim=64, num_class_embeds=CLASSES + 1, resnet_time_scale_shift="scale_shift").to(job.device)


def train_diffusers(job):
    """The loop of diffusers' example train_unconditional.py with --use_ema, and class labels."""
    from diffusers import DDPMScheduler
    from diffusers.training_utils import EMAModel
    net, scheduler = diffusers_unet(job), DDPMScheduler(T)
    ema = EMAModel(net.parameters(), decay=0.9999, use_ema_warmup=True)

    def loss(x0, y):
        eps, t = torch.randn_like(x0), torch.randint(T, (len(x0),), device=x0.device)
        return F.mse_loss(net(scheduler.add_noise(x0, eps, t), t, class_labels=y).sample, eps)

    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4)
    return net, train(job, net, loss, optimizer, lambda: ema.step(net.parameters()))


def train_lucidrains(job):
    """The loop of denoising-diffusion-pytorch's Trainer. Its U-Net knows no classes and has blocks of its own."""
    from denoising_diffusion_pytorch import GaussianDiffusion, Unet
    from ema_pytorch import EMA
    unet = Unet(dim=job.unet["lucidrains"], dim_mults=job.unet["channel_mult"], channels=job.shape[0])
    net = GaussianDiffusion(unet, image_size=job.shape[1], timesteps=T).to(job.device)
    ema = EMA(net, beta=0.995, update_every=10)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-4, betas=(0.9, 0.99))
    return unet, train(job, net, lambda x0, y: net((x0 + 1) / 2), optimizer, ema.update)


def train(job, net, loss, optimizer, average, data=None):
    """Rounds of both: loss, gradients clipped to norm 1, a step, the weights' average."""
    batches = resident(job, data)
    while True:
        for _ in range(job.steps):
            loss(*next(batches)).backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            average()
        yield


def tutorial_diffusers(images, labels, steps, at_once):
    """The network and loop of diffusers' tutorial "Train a diffusion model", `steps` updates, `at_once` a round.

    Its own six levels, which end at 1x1 for 32x32 pixels; AdamW, 1e-4 on a cosine after warm-up, batch 16, no average.
    Not its own: class labels, which its images lack, and a warm-up of at most a tenth of the updates instead of 500.
    """
    from diffusers import DDPMScheduler, UNet2DModel
    from diffusers.optimization import get_cosine_schedule_with_warmup
    torch.manual_seed(0)
    net = UNet2DModel(
        sample_size=images.shape[-1], in_channels=3, out_channels=3, layers_per_block=2, num_class_embeds=CLASSES,
        block_out_channels=(128, 128, 256, 256, 512, 512),
        down_block_types=("DownBlock2D",) * 4 + ("AttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "AttnUpBlock2D") + ("UpBlock2D",) * 4)
    scheduler, optimizer = DDPMScheduler(T), torch.optim.AdamW(net.parameters(), lr=1e-4)
    rate = get_cosine_schedule_with_warmup(optimizer, min(500, steps // 10), steps)

    def loss(x0, y):
        eps, t = torch.randn_like(x0), torch.randint(T, (len(x0),))
        return F.mse_loss(net(scheduler.add_noise(x0, eps, t), t, class_labels=y).sample, eps)

    rounds = train(Job(None, 16, at_once), net, loss, optimizer, rate.step, (images, labels))
    return net, itertools.islice(rounds, steps // at_once)


def default_lucidrains(images, steps, at_once):
    """The network and loop of denoising-diffusion-pytorch's README with the defaults of Unet, GaussianDiffusion and
    Trainer; width 64, as there. Returns the diffusion, its average, and rounds of `at_once` updates."""
    from denoising_diffusion_pytorch import GaussianDiffusion, Unet
    from ema_pytorch import EMA
    torch.manual_seed(0)
    net = GaussianDiffusion(Unet(dim=64), image_size=images.shape[-1], timesteps=T)
    ema = EMA(net, beta=0.995, update_every=10)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-4, betas=(0.9, 0.99))

    def loss(x0, y):
        mirrored = torch.rand(len(x0), 1, 1, 1) < 0.5
        return net((torch.where(mirrored, x0.flip(3), x0) + 1) / 2)

    rounds = train(Job(None, 16, at_once), net, loss, optimizer, ema.update, (images, torch.zeros(len(images))))
    return net, ema, itertools.islice(rounds, steps // at_once)


def sample_diffusers(job):
    """The loop of diffusers' DDIMPipeline, with class labels."""
    from diffusers import DDIMScheduler
    net, scheduler = diffusers_unet(job).eval(), DDIMScheduler(T)

    @torch.no_grad()
    def rounds():
        while True:
            x = torch.randn(job.batch, *job.shape, device=job.device)
            scheduler.set_timesteps(job.steps)
            for t in scheduler.timesteps:
                x = scheduler.step(net(x, t, class_labels=job.labels()).sample, t, x).prev_sample
            yield (x / 2 + 0.5).clamp(0, 1).cpu()

    return net, rounds()


# ---------------------------------------------------------------- classifiers
def classify_sklearn(job):
    from sklearn.neural_network import MLPClassifier
    nets = [MLPClassifier(job.classifier[1], alpha=0, random_state=m) for m in range(job.members)]

    def rounds(batches):
        while True:
            for _ in range(job.steps):
                for net in nets:
                    x, y = next(batches)
                    net.partial_fit(x.flatten(1).numpy(), y.numpy(), classes=range(CLASSES))
            yield

    return nets, rounds(resident(dataclasses.replace(job, device=torch.device("cpu"))))


def classify_torch(job, batches):
    """Plain modules, one after the other, each with its own Adam."""
    make, widths = job.classifier
    nets = nn.ModuleList(CNN.net(job.shape, CLASSES, widths) if make is CNN else plain_mlp(job.shape, widths)
                         for _ in range(job.members)).to(job.device)
    optimizers = [torch.optim.Adam(net.parameters(), lr=1e-3) for net in nets]

    def rounds():
        while True:
            for _ in range(job.steps):
                for net, optimizer in zip(nets, optimizers, strict=True):
                    x, y = next(batches)
                    loss = F.cross_entropy(net(x), y)
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
            yield

    return nets, rounds()


def plain_mlp(shape, widths):
    sizes = [math.prod(shape), *widths]
    hidden = [layer for a, b in zip(sizes, widths, strict=False) for layer in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(sizes[-1], CLASSES))


def classify_resident(job):
    return classify_torch(job, resident(job))


def classify_loader(job):
    images, labels = job.data()
    return classify_torch(job, from_loader(job, TensorDataset(to_float(images), labels)))


def classify_pictures(job):
    return classify_torch(job, from_loader(job, Pictures(*job.data())))


class Pictures(Dataset):
    """Pictures and labels as torchvision's CIFAR10 gives them: each is made into a PIL image, then transformed."""

    def __init__(self, images, labels):
        from torchvision import transforms
        self.arrays, self.labels = images.permute(0, 2, 3, 1).contiguous().numpy(), labels.tolist()
        self.transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,) * 3, (0.5,) * 3)])

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        from PIL import Image
        return self.transform(Image.fromarray(self.arrays[i])), self.labels[i]
