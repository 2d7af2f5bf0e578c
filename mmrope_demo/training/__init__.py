"""Training the demo's checkpoints: tiny Qwen2.5-VL models, one a variant, that can see.

`recipe` has every number; `primer` and `sight` teach the vision encoder; `lessons`, `language` and `packing` turn the
small world's samples into batches; `loop` trains, `stages` says what on what, `publish` writes the checkpoints.
"""
