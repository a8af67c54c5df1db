"""What runs on tables: config, commands, and the engines that read, score and write. Scoring itself is `vae_model`'s."""
