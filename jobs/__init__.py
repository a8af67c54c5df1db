"""What runs on tables: config, commands, and engines that read, score and write. Scoring itself is `vae_model`'s."""
