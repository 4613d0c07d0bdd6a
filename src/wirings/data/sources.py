"""The published data sets: their files, hashes, usual folders and addresses. Nothing here reads anything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class File:
    """One file of a data set as it is unpacked; on disk it may also end in .gz or .xz, or lie in the archive.

    Args:
        name: the file's name, unpacked.
        digest: "sha256:..." or "md5:..." of the unpacked bytes.
        size: how many bytes that is.
    """

    name: str
    digest: str
    size: int


@dataclass(frozen=True, kw_only=True)
class Download:
    """One published file: its name, hash ("sha256:..." or "md5:...") and the addresses to try in turn."""

    name: str
    digest: str
    urls: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Source:
    """A data set as it is published.

    Args:
        name: canonical name.
        title: name in sentences.
        kind: which decoder reads it.
        classes: how many classes.
        files: its files; none for a folder of images.
        folders: folders under the root where people keep them, the most particular first; downloads go to the first.
        archive: an archive that holds the files, where that is usual.
        downloads: what a machine with internet fetches.
    """

    name: str
    title: str
    kind: Literal["idx", "cifar", "tiny-imagenet"]
    classes: int
    files: tuple[File, ...]
    folders: tuple[str, ...]
    archive: str | None = None
    downloads: tuple[Download, ...]


def _idx_files(train_images: str, train_labels: str, test_images: str, test_labels: str) -> tuple[File, ...]:
    rows = (
        ("train-images-idx3-ubyte", train_images, 47_040_016),
        ("train-labels-idx1-ubyte", train_labels, 60_008),
        ("t10k-images-idx3-ubyte", test_images, 7_840_016),
        ("t10k-labels-idx1-ubyte", test_labels, 10_008),
    )
    return tuple(File(name=name, digest=f"sha256:{sha}", size=size) for name, sha, size in rows)


def _gz(bases: tuple[str, ...], *rows: tuple[str, str]) -> tuple[Download, ...]:
    return tuple(
        Download(name=name, digest=f"sha256:{sha}", urls=tuple(base + name for base in bases)) for name, sha in rows
    )


MNIST = Source(
    name="mnist",
    title="MNIST",
    kind="idx",
    classes=10,
    files=_idx_files(
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
    folders=("mnist", "MNIST/raw", "MNIST", "raw", ""),
    downloads=_gz(
        ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"),
        ("train-images-idx3-ubyte.gz", "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
        ("train-labels-idx1-ubyte.gz", "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
        ("t10k-images-idx3-ubyte.gz", "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
        ("t10k-labels-idx1-ubyte.gz", "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
    ),
)

FASHION_MNIST = Source(
    name="fashion-mnist",
    title="Fashion-MNIST",
    kind="idx",
    classes=10,
    files=_idx_files(
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
    folders=("fashion-mnist", "FashionMNIST/raw", "FashionMNIST", "fashion_mnist", "raw", ""),
    downloads=_gz(
        ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
        ("train-images-idx3-ubyte.gz", "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
        ("train-labels-idx1-ubyte.gz", "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
        ("t10k-images-idx3-ubyte.gz", "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
        ("t10k-labels-idx1-ubyte.gz", "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
    ),
)

CIFAR10 = Source(
    name="cifar10",
    title="CIFAR-10",
    kind="cifar",
    classes=10,
    files=tuple(
        File(name=name, digest=f"sha256:{sha}", size=size)
        for name, sha, size in (
            ("data_batch_1", "54636561a3ce25bd3e19253c6b0d8538147b0ae398331ac4a2d86c6d987368cd", 31_035_704),
            ("data_batch_2", "766b2cef9fbc745cf056b3152224f7cf77163b330ea9a15f9392beb8b89bc5a8", 31_035_320),
            ("data_batch_3", "0f00d98ebfb30b3ec0ad19f9756dc2630b89003e10525f5e148445e82aa6a1f9", 31_035_999),
            ("data_batch_4", "3f7bb240661948b8f4d53e36ec720d8306f5668bd0071dcb4e6c947f78e9682b", 31_035_696),
            ("data_batch_5", "d91802434d8376bbaeeadf58a737e3a1b12ac839077e931237e0dcd43adcb154", 31_035_623),
            ("test_batch", "f53d8d457504f7cff4ea9e021afcf0e0ad8e24a91f3fc42091b8adef61157831", 31_035_526),
        )
    ),
    folders=("cifar10", "cifar-10-batches-py", "cifar10/cifar-10-batches-py", "cifar-10", ""),
    archive="cifar-10-python.tar.gz",
    downloads=(
        Download(
            name="cifar-10-python.tar.gz",
            digest="sha256:6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
            urls=("https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",),
        ),
    ),
)

CIFAR100 = Source(
    name="cifar100",
    title="CIFAR-100",
    kind="cifar",
    classes=100,
    files=(
        File(name="train", digest="md5:16019d7e3df5f24257cddd939b257f8d", size=155_249_918),
        File(name="test", digest="md5:f0ef6b0ae62326f3e7ffdfab6717acfc", size=31_049_908),
    ),
    folders=("cifar100", "cifar-100-python", "cifar100/cifar-100-python", "cifar-100", ""),
    archive="cifar-100-python.tar.gz",
    downloads=(
        Download(
            name="cifar-100-python.tar.gz",
            digest="sha256:85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
            urls=("https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",),
        ),
    ),
)

TINY_IMAGENET = Source(
    name="tiny-imagenet",
    title="Tiny ImageNet",
    kind="tiny-imagenet",
    classes=200,
    files=(),
    folders=("tiny-imagenet-200", "tiny-imagenet", "tiny-imagenet/tiny-imagenet-200", ""),
    downloads=(
        Download(
            name="tiny-imagenet-200.zip",
            digest="md5:90528d7ca1a48142e341f4ef8d21d0de",
            urls=("http://cs231n.stanford.edu/tiny-imagenet-200.zip",),
        ),
    ),
)

SOURCES: dict[str, Source] = {s.name: s for s in (MNIST, FASHION_MNIST, CIFAR10, CIFAR100, TINY_IMAGENET)}
