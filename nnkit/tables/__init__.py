"""Tables as they are: frames and arrays are read, every column becomes numbers or codes, targets of any type too."""
