"""The smallest recipe that is one."""

from typing import Any

from pyrite.records.config import Recipe, resolve_recipe


def mapping(**sections: Any) -> dict[str, Any]:
    return {"name": "tiny", "policy": "janus-pocket", "rewards": ["hps-pocket"], **sections}


def recipe(**sections: Any) -> Recipe:
    return resolve_recipe(mapping(**sections))
