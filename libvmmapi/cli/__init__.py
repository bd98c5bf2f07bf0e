"""What the three command line tools share: options, output, exit statuses."""
