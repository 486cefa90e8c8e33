"""The entries of the registry of actions, a file for each subject; `askpro_console.actions` puts them together."""
