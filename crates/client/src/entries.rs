//! Splits the body of a page file into its entries, as it arrives.
