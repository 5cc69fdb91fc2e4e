"""Publishing of trained models: model card, Hugging Face Hub, serving."""
