"""qcow2, read in one pass: header, tables, and a decoder that cuts the clusters out of the stream."""
