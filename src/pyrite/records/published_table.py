"""The published weights: who offers them, under which licence, how large they are and what they hold.

A size is exact where the file itself was seen; otherwise it is the publisher's figure, or that of the tensors, and good
to a per cent. A sha256 stands where it was seen: in the file, or on its page at the publisher's. Counts of tensors are
those of the architectures. The figures were collected in November 2026.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

SIZE_TOLERANCE = 0.01


@dataclass(frozen=True)
class PublishedFile:
    """One file as its publisher offers it.

    Args:
        name: of the file.
        num_bytes: its size; 0 for a small file whose size nobody states.
        exact: whether that is the size to the byte.
        sha256: of its bytes, 64 hexadecimal digits; empty if not known.
        num_tensors: how many tensors a reward needs of it; 0 for a file without tensors.
        shards_bytes: for an index of shards (`*.index.json`), the size of all the shards it names; they need not be
            listed, since the index says what they are called.
        other_form: the name under which the same tensors may lie there too.
    """

    name: str
    num_bytes: int = 0
    exact: bool = False
    sha256: str = ""
    num_tensors: int = 0
    shards_bytes: int = 0
    other_form: str = ""

    def fits(self, num_bytes: int) -> bool:
        """Whether a file of so many bytes can be this one."""
        if not self.num_bytes:
            return num_bytes > 0
        slack = 0.0 if self.exact else SIZE_TOLERANCE * self.num_bytes
        return abs(num_bytes - self.num_bytes) <= slack


@dataclass(frozen=True)
class PublishedPart:
    """Files that are used together and lie in one folder; the first is the one a look-up returns.

    Args:
        role: what a reward uses it for: weights, tokenizer, tower.
        files: with `files[0]` naming the part.
        licence: of these files, as their publisher states it; "none stated" where there is none.
        upstream: whose they are: repository@commit of the code that wrote them, or a page.
        repositories: hub ids that hold them, the present one first and former names after it.
        url: of `files[0]`, for a file that is on no hub.
    """

    role: str
    files: tuple[PublishedFile, ...]
    licence: str
    upstream: str
    repositories: tuple[str, ...] = ()
    url: str = ""

    @property
    def num_bytes(self) -> int:
        """The size of all its files."""
        return sum(file.num_bytes + file.shards_bytes for file in self.files)


@dataclass(frozen=True)
class PublishedReward:
    """Everything a reward needs that Pyrite does not ship.

    Args:
        num_parameters: of what is in memory while it scores.
        parts: each with a role of its own; "weights" is always there.
    """

    num_parameters: int
    parts: tuple[PublishedPart, ...]

    @property
    def num_bytes(self) -> int:
        """The size of all its files."""
        return sum(part.num_bytes for part in self.parts)


_CLIP_TOKENIZER = PublishedPart(
    role="tokenizer",
    files=(PublishedFile("vocab.json", 862_328), PublishedFile("merges.txt", 524_619)),
    licence="MIT",
    upstream="openai/CLIP@d05afc4",
    repositories=("openai/clip-vit-base-patch32",),
)
_VIT_L_14_TOWER = PublishedPart(
    role="tower",
    files=(
        PublishedFile(
            "model.safetensors",
            1_710_500_000,
            sha256="a2bf730a0c7debf160f7a6b50b3aaf3703e7e88ac73de7a314903141db026dcb",
            num_tensors=590,
        ),
        PublishedFile("config.json"),
    ),
    licence="MIT",
    upstream="openai/CLIP@d05afc4",
    repositories=("openai/clip-vit-large-patch14",),
)
_VIT_L_14 = replace(
    _VIT_L_14_TOWER,
    role="weights",
)
_MASK2FORMER = PublishedPart(
    role="weights",
    # 758 of the tensors are weights; files of transformers 4 hold indices beside them
    files=(PublishedFile("model.safetensors", 275_500_000, num_tensors=758), PublishedFile("config.json")),
    licence="other (code: MIT)",
    upstream="facebookresearch/Mask2Former",
    repositories=("facebook/mask2former-swin-small-coco-instance",),
)
_HPS = PublishedPart(
    role="weights",
    files=(PublishedFile("HPS_v2.1_compressed.pt", 1_970_000_000, num_tensors=686),),
    licence="Apache-2.0",
    upstream="tgxs002/HPSv2@866735e",
    repositories=("xswu/HPSv2",),
)
_AESTHETIC_V1 = PublishedPart(
    role="weights",
    files=(
        PublishedFile(
            "sa_0_4_vit_l_14_linear.pth",
            4_071,
            exact=True,
            sha256="2cd4e60f4f24ae3bcd57b847b13c1f3ba27edc28cc1a7f9ce74ee9f421243cba",
            num_tensors=2,
        ),
    ),
    licence="MIT",
    upstream="LAION-AI/aesthetic-predictor@6d122ad",
    url="https://raw.githubusercontent.com/LAION-AI/aesthetic-predictor/"
    "6d122adad522ab246644d9dc1c6d7a3810ee255f/sa_0_4_vit_l_14_linear.pth",
)
_AESTHETIC_V2 = PublishedPart(
    role="weights",
    files=(
        PublishedFile(
            "sac+logos+ava1-l14-linearMSE.pth",
            3_714_759,
            exact=True,
            sha256="21dd590f3ccdc646f0d53120778b296013b096a035a2718c9cb0d511bff0f1e0",
            num_tensors=10,
        ),
    ),
    licence="Apache-2.0",
    upstream="christophschuhmann/improved-aesthetic-predictor@6934dd8",
    url="https://raw.githubusercontent.com/christophschuhmann/improved-aesthetic-predictor/"
    "6934dd81792f086e613a121dbce43082cb8be85e/sac%2Blogos%2Bava1-l14-linearMSE.pth",
)
_PICKSCORE = PublishedPart(
    role="weights",
    files=(
        PublishedFile("model.safetensors", 3_944_500_000, num_tensors=910),
        PublishedFile("config.json"),
    ),
    licence="none stated (code: MIT)",
    upstream="yuvalkirstain/PickScore@f79607f",
    repositories=("yuvalkirstain/PickScore_v1",),
)
_IMAGEREWARD = PublishedPart(
    role="weights",
    files=(
        PublishedFile(
            "ImageReward.pt",
            1_790_000_000,
            sha256="d71dc8d4912bc633c06ab8ef1ef6a81e8199d4369f14b47b29baf1d19de561f6",
            num_tensors=620,
        ),
    ),
    licence="Apache-2.0",
    upstream="zai-org/ImageReward@c1392c6",
    repositories=("zai-org/ImageReward", "THUDM/ImageReward"),
)
_BERT_TOKENIZER = PublishedPart(
    role="tokenizer",
    files=(PublishedFile("vocab.txt", 231_508),),
    licence="Apache-2.0",
    upstream="google-research/bert",
    repositories=("google-bert/bert-base-uncased", "bert-base-uncased"),
)
_MANIQA = PublishedPart(
    role="weights",
    files=(PublishedFile("ckpt_koniq10k.pt", 543_000_000, num_tensors=316),),
    licence="Apache-2.0",
    upstream="IIGROUP/MANIQA@f573d86",
    url="https://github.com/IIGROUP/MANIQA/releases/download/Koniq10k/ckpt_koniq10k.pt",
)
_VIT_B_32 = PublishedPart(
    role="weights",
    files=(
        PublishedFile("pytorch_model.bin", 605_200_000, num_tensors=398, other_form="model.safetensors"),
        PublishedFile("config.json"),
    ),
    licence="MIT",
    upstream="openai/CLIP@d05afc4",
    repositories=("openai/clip-vit-base-patch32",),
)

_GDINO = PublishedPart(
    role="weights",
    files=(
        PublishedFile(
            "groundingdino_swint_ogc.pth",
            693_997_677,  # the hub's form has the tensors alone, 689 MB
            sha256="3b3ca2563c77c69f651d7bd133e97139c186df06231157a64c507099c52bc799",
            num_tensors=924,
            other_form="model.safetensors",
        ),
    ),
    licence="Apache-2.0",
    upstream="IDEA-Research/GroundingDINO@856dde2",
    repositories=("ShilongLiu/GroundingDINO", "IDEA-Research/grounding-dino-tiny"),
)
_GIT = PublishedPart(
    role="weights",
    files=(
        PublishedFile("pytorch_model.bin", 1_579_500_000, num_tensors=497, other_form="model.safetensors"),
        PublishedFile("config.json"),
        PublishedFile("preprocessor_config.json"),
    ),
    licence="MIT",
    upstream="microsoft/GenerativeImage2Text",
    repositories=("microsoft/git-large-vqav2",),
)

# Their file names are those of LLaVA-NeXT's checkpoints (lmms-lab/llava-onevision-qwen2-7b-ov), the sizes those of the
# tensors in bfloat16.
_ORM = PublishedPart(
    role="weights",
    files=(
        PublishedFile(
            "model.safetensors.index.json",
            num_tensors=765,
            shards_bytes=16_060_700_000,
            other_form="model.safetensors",
        ),
        PublishedFile("config.json"),
    ),
    licence="none seen (base model: Apache-2.0)",
    upstream="CaraJ7/T2I-R1",
    repositories=("CaraJ/ORM-T2I-R1",),
)
_LLAVA_QWEN2_TOKENIZER = PublishedPart(
    role="tokenizer",
    files=(
        PublishedFile("vocab.json", 2_776_833),
        PublishedFile("merges.txt", 1_671_839),
        PublishedFile("tokenizer_config.json"),
    ),
    licence="Apache-2.0",
    upstream="QwenLM/Qwen2",
    repositories=_ORM.repositories,
)
_UNIFIEDREWARD = replace(
    _ORM,
    licence="MIT",
    upstream="CodeGoat24/UnifiedReward@3c16510",
    repositories=("CodeGoat24/UnifiedReward-7b-v1.5",),
)

_QWEN2_5_VL_7B = PublishedPart(
    role="weights",
    files=(
        PublishedFile(
            "model.safetensors.index.json",
            num_tensors=729,
            shards_bytes=16_584_333_312,
            other_form="model.safetensors",
        ),
        PublishedFile("config.json"),
        PublishedFile("preprocessor_config.json"),
    ),
    licence="Apache-2.0",
    upstream="QwenLM/Qwen2.5-VL",
    repositories=("Qwen/Qwen2.5-VL-7B-Instruct",),
)
_QWEN2_VL_TOKENIZER = PublishedPart(
    role="tokenizer",
    files=(PublishedFile("tokenizer.json"),),
    licence="Apache-2.0",
    upstream="QwenLM/Qwen2.5-VL",
    repositories=("Qwen/Qwen2.5-VL-7B-Instruct",),
)
_UNIFIEDREWARD_QWEN = replace(
    _QWEN2_5_VL_7B,
    licence="MIT",
    upstream="CodeGoat24/UnifiedReward@ed52f98",
    repositories=("CodeGoat24/UnifiedReward-qwen-7b",),
)
_HPSV3 = PublishedPart(
    role="weights",
    files=(PublishedFile("HPSv3.safetensors", 16_591_700_000, num_tensors=735),),
    licence="none seen (code: MIT)",
    upstream="MizzenAI/HPSv3 (package hpsv3 1.0.0)",
    repositories=("MizzenAI/HPSv3",),
)

# Sizes as in bfloat16, in which clip-flant5 was trained, and in float16: nobody states them.
_CLIP_FLANT5_XXL = PublishedPart(
    role="weights",
    files=(
        PublishedFile(
            "pytorch_model.bin.index.json",
            num_tensors=562,
            shards_bytes=22_920_000_000,
            other_form="pytorch_model.bin",
        ),
        PublishedFile("config.json"),
    ),
    licence="Apache-2.0",
    upstream="linzhiqiu/t2v_metrics@335e4c2",
    repositories=("zhiqiulin/clip-flant5-xxl",),
)
_CLIP_FLANT5_XL = replace(
    _CLIP_FLANT5_XXL,
    files=(replace(_CLIP_FLANT5_XXL.files[0], shards_bytes=6_319_000_000), PublishedFile("config.json")),
    repositories=("zhiqiulin/clip-flant5-xl",),
)
_T5_TOKENIZER = PublishedPart(
    role="tokenizer",
    files=(PublishedFile("spiece.model", 791_656),),
    licence="Apache-2.0",
    upstream="google-research/t5x",
    repositories=("google/flan-t5-xxl",),
)
_DEQA = PublishedPart(
    role="weights",
    files=(
        PublishedFile(
            "model.safetensors.index.json",
            num_tensors=862,
            shards_bytes=16_400_000_000,
            other_form="model.safetensors",
        ),
        PublishedFile("config.json"),
    ),
    licence="none stated (code: MIT)",
    upstream="zhiyuanyou/DeQA-Score@8e4abc8",
    repositories=("zhiyuanyou/DeQA-Score-Mix3",),
)
_LLAMA_TOKENIZER = PublishedPart(
    role="tokenizer",
    files=(
        PublishedFile(
            "tokenizer.model",
            499_723,
            exact=True,
            sha256="9e556afd44213b6bd1be2b850ebbbd98f5481437a8021afaf58ee7fb1818d347",
        ),
    ),
    licence="Llama 2 Community License",
    upstream="meta-llama/llama",
    repositories=("zhiyuanyou/DeQA-Score-Mix3",),
)

TABLE: Mapping[str, PublishedReward] = {
    "gdino": PublishedReward(172_250_626, (_GDINO, _BERT_TOKENIZER)),
    "git": PublishedReward(394_855_482, (_GIT, replace(_BERT_TOKENIZER, repositories=_GIT.repositories))),
    "hpsv2.0": PublishedReward(
        986_109_441,
        (replace(_HPS, files=(replace(_HPS.files[0], name="HPS_v2_compressed.pt"),)), _CLIP_TOKENIZER),
    ),
    "hpsv2.1": PublishedReward(986_109_441, (_HPS, _CLIP_TOKENIZER)),
    "pickscore": PublishedReward(
        986_109_441, (_PICKSCORE, replace(_CLIP_TOKENIZER, repositories=_PICKSCORE.repositories))
    ),
    "imagereward": PublishedReward(446_206_689, (_IMAGEREWARD, _BERT_TOKENIZER)),
    "orm": PublishedReward(8_030_348_832, (_ORM, _LLAVA_QWEN2_TOKENIZER)),
    "unifiedreward": PublishedReward(
        8_030_348_832,
        (_UNIFIEDREWARD, replace(_LLAVA_QWEN2_TOKENIZER, repositories=_UNIFIEDREWARD.repositories)),
    ),
    "artifact": PublishedReward(8_292_166_656, (_QWEN2_5_VL_7B, _QWEN2_VL_TOKENIZER)),
    "unifiedreward-qwen": PublishedReward(
        8_292_166_656,
        (_UNIFIEDREWARD_QWEN, replace(_QWEN2_VL_TOKENIZER, repositories=_UNIFIEDREWARD_QWEN.repositories)),
    ),
    "hpsv3": PublishedReward(
        7_748_610_610,
        (_HPSV3, replace(_QWEN2_VL_TOKENIZER, repositories=("Qwen/Qwen2-VL-7B-Instruct",))),
    ),
    "aesthetic-v1": PublishedReward(303_966_977, (_AESTHETIC_V1, _VIT_L_14_TOWER)),
    "aesthetic-v2": PublishedReward(304_894_177, (_AESTHETIC_V2, _VIT_L_14_TOWER)),
    "maniqa": PublishedReward(135_747_530, (_MANIQA,)),
    "vqascore": PublishedReward(11_446_993_920, (_CLIP_FLANT5_XXL, _T5_TOKENIZER)),
    "vqascore-xl": PublishedReward(
        3_146_849_280, (_CLIP_FLANT5_XL, replace(_T5_TOKENIZER, repositories=("google/flan-t5-xl",)))
    ),
    "deqa": PublishedReward(8_204_550_144, (_DEQA, _LLAMA_TOKENIZER)),
    "clipscore": PublishedReward(151_277_313, (_VIT_B_32, _CLIP_TOKENIZER)),
    # Not rewards: GenEval's detector, and what tells the colours of what a detector found.
    "mask2former": PublishedReward(68_741_083, (_MASK2FORMER,)),
    "clip-l14": PublishedReward(427_616_513, (_VIT_L_14, _CLIP_TOKENIZER)),
}
