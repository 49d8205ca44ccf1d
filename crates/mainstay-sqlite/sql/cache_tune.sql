-- Keys come in any order, so each write dirties pages all over the index: a longer log between two
-- checkpoints writes each of them to the file once instead of many times.
PRAGMA wal_autocheckpoint = 16384;
PRAGMA cache_size = -32768;
