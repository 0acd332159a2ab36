"""The commands: thin files that turn configs into objects; the only room that imports Hydra."""
