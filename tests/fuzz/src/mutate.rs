//! Inputs made from others, the same for the same seed.

/// Makes inputs.
#[derive(Debug)]
pub struct Mutator(u64);

/// Tokens with a special meaning for readers.
const TOKENS: [&[u8]; 30] = [
    b"\"",
    b"\\",
    b"\\u0000",
    b"\\ud800",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"null",
    b"-1",
    b"1e400",
    b"9223372036854775808",
    b"\n",
    b"\r\n",
    b"\0",
    b"\xff",
    b"\xef\xbb\xbf",
    "\u{1e}".as_bytes(),
    "\u{202e}".as_bytes(),
    "é".as_bytes(),
    b"%",
    b"%2",
    b"(",
    b"*",
    b"password=",
    b"Bearer ",
    b"Caused by: ",
    b"\tat a.b.C.d(E.java:1)",
];

/// The longest input that is made. Unit: bytes.
const BYTES_MAX: usize = 4_096;

impl Mutator {
    /// A sequence of inputs.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// An input that is made from some of these.
    pub fn input(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut input = self.one_of(seeds).to_vec();
        for _ in 0..=self.below(6) {
            self.change(&mut input, seeds);
        }
        input.truncate(BYTES_MAX);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, seeds: &[Vec<u8>]) {
        let (from, to) = self.range(input.len());
        match self.below(7) {
            0 if from < input.len() => input[from] ^= 1 << self.below(8),
            1 => drop(input.drain(from..to)),
            2 => input.truncate(from),
            3 => {
                let part = input[from..to].to_vec();
                input.splice(to..to, part);
            }
            4 => {
                let token = TOKENS[self.below(TOKENS.len())];
                input.splice(from..from, token.iter().copied());
            }
            5 => {
                let other = self.one_of(seeds);
                let (first, last) = self.range(other.len());
                input.splice(from..to, other[first..last].iter().copied());
            }
            _ => {
                let token = TOKENS[self.below(TOKENS.len())];
                input.splice(from..to, token.iter().copied());
            }
        }
    }

    fn one_of<'s>(&mut self, seeds: &'s [Vec<u8>]) -> &'s [u8] {
        match seeds.len() {
            0 => &[],
            count => &seeds[self.below(count)],
        }
    }

    /// A range of something of this length, often a short one.
    fn range(&mut self, length: usize) -> (usize, usize) {
        let from = self.below(length + 1);
        let most = (length - from).min(1 << self.below(10));
        (from, from + self.below(most + 1))
    }

    fn below(&mut self, bound: usize) -> usize {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let number = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((number ^ (number >> 31)) % bound as u64).unwrap()
    }
}
