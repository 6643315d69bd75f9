"""The commands of `rag2`: one file per group, with the terminal, the options and the opening of memories in files of their own."""
