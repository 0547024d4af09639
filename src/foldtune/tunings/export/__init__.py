"""A tuning on its way out: folders and files that other libraries load, each with a certificate."""
