"""Which answers may be kept, under which keys, and the ones that a process keeps."""
