"""Jobs on a cluster: submission, state, results, and the sites that show them."""
