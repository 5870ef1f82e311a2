//! Joins pages into one log: on disk, in bounded memory, none lost and none twice.
