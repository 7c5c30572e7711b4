"""The API on a real server, over real gRPC, on both databases."""
