"""Speed and memory, each against something named, in the same run. Not here: what is measured; that is lvdm/."""
