"""How the models that come with this project are made."""
