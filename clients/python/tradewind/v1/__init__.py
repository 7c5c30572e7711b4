"""Generated messages and services of the API; do not edit."""
