import itertools
import os
import re
import shutil
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image

from lib import InputError, data
from lib.data import decoded, pictures
from lib.data.copies import first_near
from lib.data.images import fingerprint
from lib.study import quality


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    """The user's cache, empty."""
    place = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(place))
    return place


def picture(path, mode="RGB", shape=(10, 10), value=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    colour = Image.new(mode, shape, value)
    colour.putpixel((0, 0), 1) if mode in ("L", "P") else None
    colour.save(path)
    return path


def class_folder(folder, greys, **options):
    for grey in greys:
        picture(folder / f"{grey:03}.png", "L", value=grey, **options)


@pytest.fixture
def pets(tmp_path):
    """40 cats and 30 dogs, 10x10, each of its own grey: 40, 43, ..."""
    class_folder(tmp_path / "pets" / "cat", range(40, 160, 3))
    class_folder(tmp_path / "pets" / "dog", range(160, 250, 3))
    return tmp_path / "pets"


@pytest.fixture
def refused(contents):
    """A function: `load` raises InputError with `message`, and nothing in the folder has changed. Returns its lines."""
    def check(folder, message, **options):
        before = contents(folder)
        with pytest.raises(InputError, match=message) as error:
            data.load("folder", data_dir=str(folder), **options)
        assert contents(folder) == before
        str(error.value).encode()                                           # printable on any page
        return str(error.value).splitlines()
    return check


def load(folder, **options):
    return data.load("folder", data_dir=str(folder), **options)


def pixels(split):
    return torch.cat([part.images for part in (split.train, split.validation, split.test)])


# ---------------------------------------------------------------- the split
def test_grey_folder_has_one_channel_and_a_fifth_of_each_class_is_the_test_and_of_the_rest_validation(pets):
    split = load(pets)
    assert split.image_shape == (1, 10, 10) and split.classes == ("cat", "dog") and split.notes == ()
    parts = split.train, split.validation, split.test
    assert [part.labels.bincount().tolist() for part in parts] == [[26, 19], [6, 5], [8, 6]]
    greys = pixels(split)[:, 0, 5, 5]
    assert sorted(greys.tolist()) == list(range(40, 250, 3))
    assert bool(((greys >= 160).long() == torch.cat([part.labels for part in parts])).all())


def test_folder_split_is_fixed_by_seed_and_per_class_limits_train(pets, refused):
    assert fingerprint(load(pets, seed=1)) == fingerprint(load(pets, seed=1)) != fingerprint(load(pets, seed=2))
    few, every = (load(pets, per_class=n) for n in (2, 0))
    assert few.train.labels.bincount().tolist() == [2, 2]
    assert torch.equal(few.validation.images, every.validation.images)
    assert torch.equal(few.test.images, every.test.images)
    refused(pets, "per_class=20: expected at most 19, all training images of class 'dog'", per_class=20)


def test_the_smallest_class_that_is_accepted_serves_all_measures_and_one_picture_less_is_refused(tmp_path, refused):
    class_folder(tmp_path / "cat", range(0, 112, 4))
    class_folder(tmp_path / "dog", range(120, 232, 4))
    split = load(tmp_path)
    assert [part.labels.bincount().tolist() for part in (split.train, split.validation, split.test)] == [
        [18, 18], [4, 4], [6, 6]]
    features = split.test.images.flatten(1).double().numpy()
    labels = split.test.labels.numpy()
    assert quality.coverage_by_class(features, labels, features, labels, 2)[0].tolist() == [1, 1]
    (tmp_path / "dog" / "120.png").unlink()
    refused(tmp_path, "expected at least 28 different pictures of each class, .* but 'dog' has 27")


def test_a_class_folder_without_images_is_named(pets, refused):
    (pets / "fish").mkdir()
    (pets / "fish" / "film.gif").write_bytes(b"")
    refused(pets, r"expected at least 28 different pictures .* but 'fish' has 0 \(read are .png, .jpg")


# ---------------------------------------------------------------- folders of a split
@pytest.fixture
def divided(tmp_path):
    """train and test, each with cats and dogs; of the dogs 10 to learn from."""
    root = tmp_path / "split"
    class_folder(root / "train" / "cat", range(0, 90, 3))
    class_folder(root / "train" / "dog", range(90, 120, 3))
    class_folder(root / "Test" / "cat", range(120, 180, 3))
    class_folder(root / "Test" / "dog", range(180, 198, 3))
    return root


def of_part(part):
    return sorted(part.images[:, 0, 5, 5].tolist())


def test_train_and_test_folders_are_taken_as_they_are_and_a_class_may_be_small(divided, refused):
    split = load(divided, seed=3)
    assert of_part(split.test) == list(range(120, 198, 3)) and split.test_ids.tolist() == list(range(26))
    assert sorted(of_part(split.train) + of_part(split.validation)) == list(range(0, 120, 3))
    assert split.counts == {"train": {"cat": 24, "dog": 8}, "validation": {"cat": 6, "dog": 2}, "test": {"cat": 20, "dog": 6}}
    assert split.notes == () and torch.equal(load(divided, seed=4).test.images, split.test.images)
    (divided / "train" / "dog" / "090.png").unlink()
    refused(divided, "expected at least 10 different pictures of each class in train and validation, but 'dog' has 9")
    (divided / "Test" / "dog" / "180.png").unlink()
    assert len(refused(divided, "expected at least 6 different pictures of each class in test, but 'dog' has 5")) == 2


def test_a_validation_folder_is_taken_as_it_is_too(divided, refused):
    class_folder(divided / "val" / "cat", range(200, 206, 2))
    refused(divided, "dog: expected this class in validation too, as in the other parts")
    class_folder(divided / "val" / "dog", range(210, 214, 2))
    split = load(divided, per_class=5)
    assert of_part(split.validation) == [200, 202, 204, 210, 212] and split.counts["train"] == {"cat": 5, "dog": 5}
    refused(divided, "per_class=11: expected at most 10, all training images of class 'dog'", per_class=11)
    class_folder(divided / "dev" / "cat", [3])
    refused(divided, "'Test', 'dev', 'train', 'val': expected one folder for each of train, validation and test")


def test_training_pictures_that_are_test_pictures_are_left_out_and_counted(divided):
    shutil.copy(divided / "Test" / "cat" / "123.png", divided / "train" / "cat" / "leak.png")
    picture(divided / "train" / "cat" / "near.png", "L", value=127)                    # 1 grey level from 126
    shutil.copy(divided / "Test" / "cat" / "126.png", divided / "Test" / "cat" / "again.png")
    split = load(divided)
    assert len(split.test) == 27 and not {123, 127} & set(of_part(split.train) + of_part(split.validation))
    assert split.notes == (
        "Left out of their part, as a test or validation must hold new ones, because they are copies of other pictures: 1 equal to another "
        "one and 1 at most 1 grey level from one, such as train/cat/leak.png of Test/cat/123.png.",
        "Kept in the test, because they are copies of other pictures: 1 equal to another one and 0 at most 1 grey level from one, such as "
        "Test/cat/again.png of Test/cat/126.png.")
    shutil.copy(divided / "Test" / "cat" / "129.png", divided / "train" / "dog" / "wrong.png")
    with pytest.raises(InputError, match="two classes: Test/cat/129.png and train/dog/wrong.png"):
        load(divided)


@pytest.mark.parametrize("parts", [("train",), ("Train", "val"), ("test", "validation")])
def test_parts_without_a_training_or_a_test_are_refused_with_the_folder_to_name(parts, tmp_path, refused):
    for part in parts:
        class_folder(tmp_path / part / "cat", [0])
    refused(tmp_path, rf"expected train and test beside each other, or class folders, such as those in '{tmp_path}/(T|t)\w+'")


def test_a_folder_beside_train_and_test_is_refused(divided, refused):
    class_folder(divided / "fish", range(3))
    refused(divided, "'fish' beside 'Test', 'train': expected class folders in train and test, and none beside")


def test_some_classes_of_a_folder(pets, refused):
    class_folder(pets / "fish", range(28))
    (pets / "fish" / "bad.png").write_bytes(b"no image")
    assert fingerprint(load(pets, classes=["dog", "cat"])) == fingerprint(load(pets, classes=("cat", "dog")))
    assert load(pets, classes=["dog", "cat"]).classes == ("cat", "dog")
    refused(pets, "classes: 'fisch' is none: expected some of cat, dog, fish", classes=["cat", "fisch"])


# ---------------------------------------------------------------- groups
def scenes(folder, sizes, blue=0, name="p"):
    """A class whose pictures, each of its own colour, belong to groups of so many: p0_0.png, p0_1.png ..."""
    grey = itertools.count()
    for group, size in enumerate(sizes):
        for k in range(size):
            picture(folder / f"{name}{group}_{k}.png", value=(2 * next(grey), 9 * group, blue))


def groups_of(split):
    return [set(part.images[:, 1, 5, 5].tolist()) for part in (split.train, split.validation, split.test)]


@pytest.mark.parametrize("seed", range(8))
def test_no_group_is_in_two_parts_and_the_shares_are_about_right(seed, tmp_path):
    random = np.random.RandomState(seed)
    sizes = [int(n) for n in random.randint(1, 9, 25)]
    scenes(tmp_path / "sick", sizes)
    scenes(tmp_path / "well", sizes[::-1], 50)                              # a patient has pictures in both classes
    split = load(tmp_path, group_by=r"p(\d+)_", seed=seed)
    train, validation, test = groups_of(split)
    assert not (train & validation or train & test or validation & test) and len(train | validation | test) == 25
    for part, share in (("test", 0.2), ("validation", 0.16)):
        for name in split.classes:
            assert split.counts[part][name] == pytest.approx(share * sum(sizes), abs=7)
    assert split.notes == ("Pictures of one group stay together: 25 groups by 'p(\\\\d+)_'.",)
    assert fingerprint(split) == fingerprint(load(tmp_path, group_by=r"p(\d+)_", seed=seed)) != fingerprint(load(tmp_path, group_by=r"p(\d+)_", seed=99))


def test_groups_that_are_too_few_or_fit_no_name_are_refused(tmp_path, refused):
    scenes(tmp_path / "sick", [20, 20])
    scenes(tmp_path / "well", [4] * 10, 50)
    assert len(refused(tmp_path, "with whole groups too few pictures are left for test: 'sick' has 0: expected at least 6", group_by="p[0-9]+")) == 2
    refused(tmp_path, r"group_by='q.*' is found in no part of 80 file names \(sick/p0_0.png, .* and 75 more\)", group_by="q.*")
    refused(tmp_path, r"group_by='\(': expected a regular expression \(missing \)", group_by="(")


def test_a_group_in_a_given_train_and_test_is_refused(tmp_path, refused):
    for part, name in (("train", "a"), ("test", "b")):
        scenes(tmp_path / part / "sick", [2] * 8, 100 * (part == "test"), name)
        scenes(tmp_path / part / "well", [2] * 8, 100 * (part == "test") + 50, name)
    train, validation, test = groups_of(load(tmp_path, group_by="^[ab][0-9]"))
    assert not train & validation and len(train | validation) == len(test) == 8
    picture(tmp_path / "train" / "sick" / "b1_9.png", value=(251, 9, 0))
    refused(tmp_path, r"1 groups have pictures in several parts \(those of .*b1_.*\): expected each in one part", group_by="^[ab][0-9]")


# ---------------------------------------------------------------- what is found
def test_hidden_files_and_folders_and_those_of_a_file_server_are_no_data(pets):
    for name in (".ipynb_checkpoints", "@eaDir", "__MACOSX"):
        shutil.copytree(pets / "cat", pets / name)
        shutil.copytree(pets / "cat" , pets / "dog" / name)
    (pets / "dog" / "._10.png").write_bytes(b"Finder's note")
    split = load(pets)
    assert split.classes == ("cat", "dog") and len(pixels(split)) == 70 and split.notes == ()


def test_files_that_are_no_pictures_are_counted_and_named(pets):
    for k in range(20):
        (pets / "cat" / f"IMG_{k}.HEIC").write_bytes(b"ftypheic")
    (pets / "dog" / "notes.txt").write_text("no picture")
    picture(pets / "dog" / "moving.gif")
    picture(pets / "title.png")
    os.mkfifo(pets / "dog" / "pipe.png")                # whoever opens it waits for ever
    (pets / "dog" / "zero.png").symlink_to("/dev/zero")
    assert load(pets).notes == ("Left out, because they are no pictures of a class: .heic (20), no files (2), "
                                ".gif (1), .txt (1), beside the class folders (1).",)


def test_links_upwards_are_not_followed(pets):
    expected = fingerprint(load(pets))
    (pets / "cat" / "back").symlink_to("..")
    (pets / "again").symlink_to(".")
    (pets / "loop").symlink_to("loop")
    split = load(pets)
    assert split.classes == ("cat", "dog") and fingerprint(split) == expected
    assert "linked folders (1)" in split.notes[0]


def test_pictures_in_folders_below_a_class_are_refused(pets, refused):
    class_folder(pets / "cat" / "old" / "thumbnails", range(7))
    refused(pets, "cat/old holds 7 pictures: expected those of a class in its own folder, not deeper")


def test_no_class_folder_and_only_one_are_refused(tmp_path, refused):
    picture(tmp_path / "loose.png")
    refused(tmp_path, "expected at least 2 class folders, with images as class/name.png, but found 0: none")
    picture(tmp_path / "cat" / "0.png")
    refused(tmp_path, "but found 1: cat")


@pytest.mark.parametrize("data_dir", ["", "no/such/folder"])
def test_folder_needs_a_folder(data_dir):
    with pytest.raises(InputError, match=f"data_dir='{data_dir}': expected a folder of class folders"):
        data.load("folder", data_dir=data_dir)


def test_class_names_stay_as_they_are(pets):
    (pets / "cat").rename(pets / "$0_to^<b>")
    (pets / "dog").rename(pets / "猫")
    assert load(pets).classes == ("$0_to^<b>", "猫")


@pytest.mark.parametrize("name, told", [(b"caf\xe9", r"caf\\udce9"), (b"two\nlines", r"two\\nlines")])
def test_a_class_name_that_cannot_be_printed_is_refused(name, told, pets, refused):
    os.rename(os.fsencode(pets / "dog"), os.fsencode(pets) + b"/" + name)
    refused(pets, f"'{told}': expected class names in UTF-8 without control characters")


# ---------------------------------------------------------------- copies
def test_copies_are_left_out_and_counted(pets):
    alone = fingerprint(load(pets))
    for k, path in enumerate(sorted(pets.glob("*/*.png"))):
        if k < 50:
            Image.open(path).save(path.with_suffix(".tiff"))                # other bytes, the same picture
    picture(pets / "dog" / "zz.png", "L", value=248)                        # 1 grey level from the last
    split = load(pets)
    assert fingerprint(split) == alone
    assert split.notes == ("Left out, because they are copies of other pictures: 50 equal to another one and 1 at most "
                           "1 grey level from one, such as cat/040.tiff of cat/040.png.",)


def test_pictures_that_are_equal_after_scaling_are_copies(pets):
    Image.open(picture(pets / "cat" / "small.png", "L", (8, 8), 200)).resize((24, 24), Image.Resampling.NEAREST).save(
        pets / "cat" / "large.png")
    assert "1 equal to another one" in load(pets, size=8).notes[0]


def test_a_picture_in_two_classes_is_refused_with_both_names(pets, refused):
    shutil.copy(pets / "cat" / "043.png", pets / "dog" / "rex.png")
    refused(pets, "the same picture stands in two classes: cat/043.png and dog/rex.png: expected one class for each")


def test_a_class_of_copies_is_too_small(pets, refused):
    for k in range(3):
        (pets / "dog" / f"{160 + 3 * k}.png").unlink()
        shutil.copy(pets / "dog" / "202.png", pets / "dog" / f"copy{k}.png")
    refused(pets, "expected at least 28 different pictures .* but 'dog' has 27")


def test_the_first_of_near_pictures_is_kept_and_those_near_to_a_copy_alone_stay():
    greys = torch.tensor([10, 50, 11, 12, 50, 13, 11], dtype=torch.uint8)
    images = greys.view(-1, 1, 1, 1).expand(-1, 1, 8, 8).contiguous()
    assert first_near(images).tolist() == [0, 1, 0, 3, 1, 3, 0]


# ---------------------------------------------------------------- reading
def test_colour_folder_of_several_sizes_and_formats_is_resized(tmp_path):
    for k in range(60):
        end = ["png", "jpg", "bmp", "webp", "tif", "ppm"][k // 2 % 6]
        picture(tmp_path / f"class{k % 2}" / f"{k}.{end}", shape=(20 + k, 30), value=(4 * k, 20, 30))
    split = load(tmp_path, size=16)
    assert split.image_shape == (3, 16, 16) and len(pixels(split)) == 60
    assert (pixels(split)[:, 1:].float().mean((0, 2, 3)) - torch.tensor([20.0, 30])).abs().max() < 4           # jpg


def test_photos_are_turned_as_their_exif_note_says(pets):
    exif = Image.Exif()
    exif[0x0112] = 6                                            # shown turned by 90 degrees
    for path in pets.glob("*/*.png"):
        Image.open(path).resize((10, 12)).save(path, exif=exif)
    assert load(pets).image_shape == (1, 10, 12)


def test_a_photograph_is_decoded_once(pets, monkeypatch):
    decoded_files, decode = [], pictures.decode

    def counted(file, size):
        decoded_files.append(file.name)
        return decode(file, size)
    monkeypatch.setattr(pictures, "decode", counted)
    first = load(pets, size=8)
    for path in pets.glob("*/*.png"):
        os.utime(path, (0, 0))
    assert fingerprint(load(pets, size=8)) == fingerprint(first) and len(decoded_files) == 70
    picture(path := pets / "cat" / "040.png", "L", value=30)                # new content, old time
    os.utime(path, (0, 0))
    assert fingerprint(load(pets, size=8)) != fingerprint(first) and len(decoded_files) == 71


def test_a_damaged_or_missing_cache_changes_nothing(pets, cache, monkeypatch):
    expected = fingerprint(load(pets))
    (saved,) = cache.glob("dreaming-data/pictures/*")
    for content in (b"", saved.read_bytes()[:-100], saved.read_bytes().replace(bytes([160] * 9), bytes([161] * 9))):
        saved.write_bytes(content)
        assert fingerprint(load(pets)) == expected
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")                       # nothing can be written there
    assert fingerprint(load(pets)) == expected


def test_two_processes_that_save_at_the_same_time_leave_one_whole_file(tmp_path, cache):
    pictures = [{bytes(32): np.full((1, 8, 8), k, np.uint8)} for k in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda p: decoded.save(tmp_path, 8, p), pictures * 5))
    assert decoded.load(tmp_path, 8)[bytes(32)].max() in range(8)
    assert len(list(cache.glob("dreaming-data/pictures/*"))) == 1


# ---------------------------------------------------------------- what is converted
def colours(seed, size=(10, 10)):
    return Image.fromarray(np.random.RandomState(seed).randint(0, 256, (*size, 3), "uint8"))


def test_pictures_are_converted_as_torchvision_does_and_counted(tmp_path):
    from torchvision.datasets import ImageFolder
    for k in range(28):
        for name in ("cat", "dog"):
            (tmp_path / name).mkdir(exist_ok=True)
            colours(100 * (name == "dog") + k).save(tmp_path / name / f"{k:02}.png")
    odd = {"alpha.png": "RGBA", "palette.png": "P", "cmyk.jpg": "CMYK", "grey.png": "L", "bits.png": "1", "la.png": "LA"}
    for k, (name, mode) in enumerate(odd.items()):
        colours(900 + k).convert(mode).save(tmp_path / "cat" / name)
    split, theirs = load(tmp_path), ImageFolder(str(tmp_path))
    assert split.image_shape == (3, 10, 10)
    assert sorted(map(bytes, pixels(split).permute(0, 2, 3, 1).numpy())) == sorted(np.asarray(image).tobytes() for image, _ in theirs)
    assert split.notes == ("Converted to RGB: opaque RGBA (1, such as cat/alpha.png), black and white (1, such as cat/bits.png), CMYK (1, such as "
                           "cat/cmyk.jpg), grey (1, such as cat/grey.png), grey, opaque alpha (1, such as cat/la.png) and 1 more.",)


def test_where_all_are_grey_one_channel_stays_and_the_pixels_are_those(pets):
    Image.new("1", (10, 10), 1).save(pets / "dog" / "white.png")
    split = load(pets)
    assert split.image_shape == (1, 10, 10) and pixels(split).max() == 255
    assert split.notes == ("Converted to grey: black and white (1, such as dog/white.png).",)


def test_a_colour_that_would_be_transparent_and_is_not_there_does_no_harm(pets):
    Image.new("L", (10, 10), 77).save(pets / "dog" / "key.png", transparency=3)
    assert (pixels(load(pets)) == 77).flatten(1).all(1).any()


@pytest.mark.parametrize("mode, options", [("RGBA", {}), ("LA", {}), ("RGB", {"transparency": (0, 0, 0)}), ("P", {"transparency": 0})])
def test_what_is_transparent_is_refused_with_what_to_do(mode, options, pets, refused):
    Image.new(mode, (10, 10), 0).save(pets / "dog" / "odd.png", **options)
    refused(pets, "dog/odd.png: transparent: expected opaque pictures: give them a background, for example by `magick mogrify ")


# ---------------------------------------------------------------- files that cannot be used
def test_all_that_is_wrong_is_told_in_one_message_a_line_for_each_kind(pets, refused):
    (pets / "cat" / "bad.png").write_bytes(b"no image")
    Image.new("RGBA", (10, 10)).save(pets / "dog" / "clear.png")
    class_folder(pets / "Cat", range(3))
    class_folder(pets / "dog" / "old", range(2))
    shutil.copy(pets / "cat" / "043.png", pets / "dog" / "rex.png")
    lines = refused(pets, None)
    assert [line.removeprefix(f"data_dir={str(pets)!r}: ")[:26] for line in lines] == [
        "the classes 'Cat' and 'cat", "dog/old holds 2 pictures: ", "dog/clear.png: transparent", "cannot use cat/bad.png (no",
        "the same picture stands in", "expected at least 28 diffe"]


@pytest.mark.parametrize("one, other", [("Cat", "cat"), ("K\u00e4se", "Ka\u0308se")])
def test_class_names_that_some_systems_do_not_tell_apart_are_refused(one, other, pets, refused):
    (pets / "cat").rename(pets / one)
    (pets / "dog").rename(pets / other)
    refused(pets, f"^.*: the classes {re.escape(ascii(min(one, other)))} and {re.escape(ascii(max(one, other)))} differ by case, or by how")


def test_several_sizes_need_the_option_size(pets, refused):
    picture(pets / "dog" / "wide.png", "L", (12, 9))
    refused(pets, "size=0: cat/040.png is 10x10, dog/wide.png is 12x9: expected size=8 to 128 unless")
    assert load(pets, size=8).image_shape == (1, 8, 8)


def test_large_images_need_the_option_size(tmp_path, refused):
    for name in "ab":
        class_folder(tmp_path / name, range(28), shape=(129, 129))
    refused(tmp_path, "size=0: a/000.png is 129x129: expected size=8 to 128")


def test_a_truncated_image_is_named(pets, refused):
    path = pets / "cat" / "043.png"
    Image.fromarray(np.random.RandomState(0).randint(0, 256, (40, 40), "uint8")).save(path)
    path.write_bytes(path.read_bytes()[:900])
    refused(pets, r"cannot use cat/043.png \(.*(truncated|broken).*\): expected whole 8-bit pictures", size=8)


def test_five_bad_files_are_listed_and_the_rest_counted(pets, refused):
    for k in range(7):
        (pets / "cat" / f"bad{k}.png").write_bytes(b"no image")
    refused(pets, r"cat/bad0.png \(none of PNG, .*\).*bad4.png \([^)]*\) and 2 more")


def test_a_file_is_read_by_its_content_and_in_accepted_formats_only(pets, refused, monkeypatch):
    def started(*_, **__):
        raise AssertionError("Ghostscript was started")
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", started)
    Image.new("RGB", (10, 10)).save(pets / "dog" / "drawing.eps")
    (pets / "dog" / "drawing.eps").rename(pets / "dog" / "drawing.png")
    refused(pets, r"cannot use dog/drawing.png \(none of PNG, JPEG, BMP, WEBP, TIFF, PPM\)")


@pytest.mark.parametrize("mode", ["I;16", "F"])
def test_pictures_of_more_than_8_bits_are_refused(mode, pets, refused):
    picture(pets / "dog" / ("odd.tif" if mode == "F" else "odd.png"), mode)
    refused(pets, rf"cannot use dog/odd.\w+ \(PIL mode {mode}.*, more than 8 bits a channel\): expected whole 8-bit pictures")


def test_a_git_lfs_pointer_is_called_one(pets, refused):
    (pets / "dog" / "big.jpg").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n")
    refused(pets, "dog/big.jpg: a Git LFS pointer: expected the pictures themselves: `git lfs pull` fetches them")


@pytest.mark.parametrize("side, told", [(1, "1x1 pixels"), (9_000, "9000x9000 pixels"),
                                        (20_000, "more than 64,000,000 pixels")])
def test_a_picture_of_too_few_or_too_many_pixels_is_refused_undecoded(side, told, pets, refused, monkeypatch):
    decode = pictures.decode
    monkeypatch.setattr(pictures, "decode", lambda file, size: pytest.fail("decoded") if "odd" in file.name else decode(file, size))
    header = struct.pack(">II5B", side, side, 8, 0, 0, 0, 0)
    chunk = b"IHDR" + header
    (pets / "cat" / "odd.png").write_bytes(b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(
        ">I", zlib.crc32(chunk)) + struct.pack(">I", 9) + b"IDAT")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        refused(pets, rf"cat/odd.png \({told}\): expected .* from 8x8 to 64,000,000 pixels", size=8)
