"""The journal as others use it, one subject each; transactions begin and end in here."""
