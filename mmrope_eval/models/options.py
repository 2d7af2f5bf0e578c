"""What `stamp` is asked."""

from __future__ import annotations

from typing import Any, Final

from mmrope_eval.util.keys import Keys, argument, option

EXAMPLES: Final = """\
examples:
  say once with which RoPE a checkpoint was trained
    mmrope-eval stamp CKPT mrope-i
    mmrope-eval stamp CKPT v2pe --set visual_stride=64
"""


class StampOptions(Keys):
    """What `stamp` is asked."""

    epilog = EXAMPLES
    model: str = argument("a checkpoint's folder, a training's folder or a quoted glob", metavar="CKPT")
    variant: str = argument("a variant by name or YAML path", metavar="VARIANT")
    set: dict[str, Any] = option("override one parameter of the variant; may be repeated", {}, metavar="KEY=VALUE")
    force: bool = option("write it although config.json names another variant", False)
