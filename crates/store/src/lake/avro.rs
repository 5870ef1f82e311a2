//! Encoding of Avro files: the parts of the binary encoding and of the object container that manifests need.
//!
//! Manifests have few schemas, which never change and contain attributes of Iceberg. The schemas are therefore written
//! literally, and values are encoded in the order of the schema.

/// Records in the binary encoding.
#[derive(Default)]
pub(super) struct AvroRecords {
    bytes: Vec<u8>,
    count: i64,
}

impl AvroRecords {
    /// Begins a record; its fields follow in the order of the schema.
    pub(super) fn begin_record(&mut self) -> &mut Self {
        self.count += 1;
        self
    }

    /// Adds a value of type `int` or `long`.
    pub(super) fn number(&mut self, number: i64) -> &mut Self {
        let mut left = ((number << 1) ^ (number >> 63)).cast_unsigned();
        while left >= 0x80 {
            self.bytes.push(left.to_le_bytes()[0] | 0x80);
            left >>= 7;
        }
        self.bytes.push(left.to_le_bytes()[0]);
        self
    }

    /// Adds a value of type `bytes` or `string`.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.number(length(bytes.len()));
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// Adds the first branch of a union, `null`.
    pub(super) fn none(&mut self) -> &mut Self {
        self.number(0)
    }

    /// Selects the second branch of a union; its value must be added next.
    pub(super) fn some(&mut self) -> &mut Self {
        self.number(1)
    }

    /// Adds an array; `item` encodes one item.
    pub(super) fn array<T>(
        &mut self,
        items: impl ExactSizeIterator<Item = T>,
        mut item: impl FnMut(&mut Self, T),
    ) -> &mut Self {
        if items.len() > 0 {
            self.number(length(items.len()));
            items.for_each(|one| item(self, one));
        }
        self.number(0)
    }

    /// Returns the encoded records so far.
    pub(super) fn encoded(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the records as a file with this schema and additional entries of the header.
    ///
    /// `mark` is the synchronization marker between blocks: the same records with the same mark result in the same
    /// bytes.
    pub(super) fn into_file(self, schema: &str, entries: &[(&str, &str)], mark: [u8; 16]) -> Vec<u8> {
        let mut file = Self::default();
        file.bytes.extend_from_slice(b"Obj\x01");
        let fixed = [("avro.schema", schema), ("avro.codec", "null")];
        let entries: Vec<_> = fixed.iter().chain(entries).collect();
        file.array(entries.into_iter(), |file, (name, value)| {
            file.bytes(name.as_bytes()).bytes(value.as_bytes());
        });
        file.bytes.extend_from_slice(&mark);
        if self.count > 0 {
            file.number(self.count).bytes(&self.bytes);
            file.bytes.extend_from_slice(&mark);
        }
        file.bytes
    }
}

fn length(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Source: the specification of Avro, "Binary encoding".
    #[test]
    fn numbers_are_variable_length_zig_zag() {
        for (number, expected) in [
            (0, &[0][..]),
            (-1, &[1]),
            (1, &[2]),
            (-64, &[0x7f]),
            (64, &[0x80, 0x01]),
            (i64::MIN, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]),
        ] {
            let mut records = AvroRecords::default();
            records.number(number);
            assert_eq!(records.bytes, expected, "{number}");
        }
    }

    #[test]
    fn a_file_has_a_header_and_one_block() {
        let mut records = AvroRecords::default();
        records.begin_record().bytes(b"foo").some().number(3).array([1, 2].into_iter(), |it, n| {
            it.number(n);
        });
        let file = records.into_file("\"s\"", &[], *b"0123456789abcdef");
        let expected = [
            b"Obj\x01\x04\x16avro.schema\x06\"s\"\x14avro.codec\x08null\x00".as_slice(),
            b"0123456789abcdef\x02\x14\x06foo\x02\x06\x04\x02\x04\x00",
            b"0123456789abcdef",
        ];
        assert_eq!(file, expected.concat());
    }
}
