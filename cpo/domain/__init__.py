"""The trade itself, pure: no await, no clock, no input or output."""
