"""Skills: folders with a SKILL.md, which a model reads when it needs them."""
