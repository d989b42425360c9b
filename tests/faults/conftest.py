from tests.running import own_stack, shared_stack, stack

__all__ = ["own_stack", "shared_stack", "stack"]
