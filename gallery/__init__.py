"""What people look at: a static site over a store, and the same live. Imports tasks and storage; flows start it."""
