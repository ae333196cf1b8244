// The page that was asked for takes a moment to make: look again until it is there.
setTimeout(() => location.reload(), 700);
