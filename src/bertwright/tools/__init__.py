"""Commands on finished models: comparing, converting and summarizing them."""
