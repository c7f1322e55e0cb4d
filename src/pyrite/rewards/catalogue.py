"""The rewards by name; strings only, so that listing them imports no torch."""

from pyrite.core.registry import Entry, Registry

REWARDS = Registry(
    "reward",
    {
        "hpsv2.0": Entry(
            "pyrite.rewards.clip_published:load_hpsv2_0",
            "Human Preference Score v2.0: cosine of image and prompt in a ViT-H/14 trained on people's choices.",
        ),
        "hpsv2.1": Entry(
            "pyrite.rewards.clip_published:load_hpsv2_1",
            "Human Preference Score v2.1: as v2.0, trained on better data; scores spread wider.",
        ),
        "pickscore": Entry(
            "pyrite.rewards.clip_published:load_pickscore",
            "PickScore v1: scaled cosine of image and prompt in a ViT-H/14 trained on users' choices.",
        ),
        "clipscore": Entry(
            "pyrite.rewards.clip_published:load_clipscore",
            "CLIPScore (jmhessel, ViT-B/32): how well the image shows what the prompt says.",
        ),
        "aesthetic-v1": Entry(
            "pyrite.rewards.aesthetic:load_aesthetic_v1",
            "LAION's aesthetic predictor: a linear layer on CLIP ViT-L/14; blind to the prompt.",
        ),
        "aesthetic-v2": Entry(
            "pyrite.rewards.aesthetic:load_aesthetic_v2",
            "The improved aesthetic predictor (sac+logos+ava1): five layers on CLIP ViT-L/14; blind to the prompt.",
        ),
        "imagereward": Entry(
            "pyrite.rewards.imagereward:load_imagereward",
            "ImageReward v1.0: what people would prefer, from a BLIP that reads image and prompt together.",
        ),
        "maniqa": Entry(
            "pyrite.rewards.maniqa:load_maniqa",
            "MANIQA (KonIQ-10k): quality of the picture as a photograph, on 20 crops; blind to the prompt.",
        ),
        "vqascore": Entry(
            "pyrite.rewards.vqascore:load_vqascore",
            'VQAScore with clip-flant5-xxl: how sure it is of "Yes" to whether the image shows the prompt.',
        ),
        "vqascore-xl": Entry(
            "pyrite.rewards.vqascore:load_vqascore_xl",
            "VQAScore with clip-flant5-xl: the same question to a model of a quarter of the size.",
        ),
        "deqa": Entry(
            "pyrite.rewards.deqa:load_deqa",
            "DeQA-Score: quality of the picture from 1 to 5, by the words mPLUG-Owl2 has for it; blind to the prompt.",
        ),
        "gdino": Entry(
            "pyrite.rewards.gdino:load_gdino",
            "GroundingDINO finds the prompt's nouns, in their places and their number; reads the prompt's metadata.",
        ),
        "git": Entry(
            "pyrite.rewards.git_vqa:load_git",
            "GIT-large (VQAv2): how sure it is of yes to each thing of the prompt with its attribute; reads metadata.",
        ),
        "artifact": Entry(
            "pyrite.rewards.artifact_vlm:load_artifact",
            "ArtifactReward: how sure Qwen2.5-VL-7B is that it sees no artifact in the image; blind to the prompt.",
        ),
        "orm": Entry(
            "pyrite.rewards.orm:load_orm",
            "ORM of T2I-R1: how sure a LLaVA-OneVision-7B is that the image accurately represents the prompt.",
        ),
        "unifiedreward": Entry(
            "pyrite.rewards.unifiedreward:load_unifiedreward",
            "UnifiedReward-7b-v1.5: alignment, coherence and style from 1 to 5, as a judge writes them; their mean.",
        ),
        "unifiedreward-qwen": Entry(
            "pyrite.rewards.unifiedreward_qwen:load_unifiedreward_qwen",
            "UnifiedReward-qwen-7b: the score from 1 to 5 that a judge writes about prompt and image.",
        ),
        "artifact-served": Entry(
            "pyrite.rewards.served_judges:load_artifact_served",
            "ArtifactReward from an OpenAI-compatible server: how sure the judge is that it sees no artifact.",
        ),
        "unifiedreward-served": Entry(
            "pyrite.rewards.served_judges:load_unifiedreward_served",
            "UnifiedReward from an OpenAI-compatible server: alignment, coherence and style from 1 to 5; their mean.",
        ),
        "unifiedreward-qwen-served": Entry(
            "pyrite.rewards.served_judges:load_unifiedreward_qwen_served",
            "UnifiedReward-qwen from an OpenAI-compatible server: the score from 1 to 5 that the judge writes.",
        ),
        "hpsv3": Entry(
            "pyrite.rewards.hpsv3:load_hpsv3",
            "Human Preference Score v3: a Qwen2-VL-7B with a head on a reward token. Parity: unverified.",
        ),
        "jpeg_compressibility": Entry(
            "pyrite.rewards.diagnostics:load_jpeg_compressibility",
            "Minus the kB of the image as a JPEG file (DDPO): high for flat images; blind to the prompt.",
        ),
        "jpeg_incompressibility": Entry(
            "pyrite.rewards.diagnostics:load_jpeg_incompressibility",
            "The kB of the image as a JPEG file (DDPO): high for busy images; blind to the prompt.",
        ),
        "saturation": Entry(
            "pyrite.rewards.diagnostics:load_saturation",
            "Mean saturation of the pixels: high for vivid images; blind to the prompt.",
        ),
        "sharpness": Entry(
            "pyrite.rewards.diagnostics:load_sharpness",
            "Variance of the Laplacian: high for hard edges and for noise; blind to the prompt.",
        ),
        "random": Entry(
            "pyrite.rewards.diagnostics:load_random",
            "A number that a hash of the pixels decides: what training does with nothing to learn.",
        ),
        "constant": Entry(
            "pyrite.rewards.diagnostics:load_constant", "The same number for every image: no advantage differs from 0."
        ),
        "versus": Entry(
            "pyrite.rewards.versus:load_versus",
            "Another reward's score minus that of an earlier image of the same prompt; options: reward, baseline.",
        ),
        "remote": Entry(
            "pyrite.rewards.remote:load_remote",
            "A reward that `pyrite serve` computes on another machine; options: url, reward.",
        ),
        "hps-pocket": Entry(
            "pyrite.rewards.clip:load_hps", "Preference model of CLIP form, as HPSv2: cosine of image and prompt."
        ),
        "pickscore-pocket": Entry(
            "pyrite.rewards.clip:load_pickscore",
            "Preference model of CLIP form, as PickScore: scaled cosine of image and prompt; other biases than hps.",
        ),
        "aesthetic-pocket": Entry(
            "pyrite.rewards.aesthetic:load_aesthetic",
            "Aesthetic head on a CLIP image tower, as LAION's predictor; blind to the prompt.",
        ),
        "artifact-pocket": Entry(
            "pyrite.rewards.artifact:load_artifact",
            "Probability that the image has no artifact, from an image classifier; blind to the prompt.",
        ),
        "detector-pocket": Entry(
            "pyrite.rewards.detector:load_detector",
            "A small OWL-ViT looks for the prompt's objects, in their colours, places and number, as gdino does.",
        ),
        "orm-pocket": Entry(
            "pyrite.rewards.orm_pocket:load_orm_pocket",
            "A small LLaVA-OneVision answers ORM's question: does the image show what the prompt says.",
        ),
    },
    "pyrite.rewards",
)
