"""EC2, through boto3's clients; the only room that imports boto3.

``api`` has one function an API call; ``tags`` is pure; the rest puts them together.
"""
