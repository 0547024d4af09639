"""What is asked of a host, a site and an attachment before anything is handed over."""
