"""Where trials come from: the protocol of measurers, replay, and what a trial was made under."""
