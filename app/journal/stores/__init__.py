"""What others do with the journal, one subject each; transactions begin and end in here."""
