"""The tables of the index. `indexer/README.md` says what each holds, and why."""

from __future__ import annotations

import zlib

SCHEMA = 6
"""Part of the file's name; raise it for every change of the tables, or of the rules for their content."""
TABLES = """
CREATE TABLE IF NOT EXISTS files(
    id INTEGER PRIMARY KEY AUTOINCREMENT, path TEXT NOT NULL UNIQUE, family TEXT NOT NULL, folder TEXT NOT NULL,
    module TEXT NOT NULL, package TEXT NOT NULL, subject TEXT NOT NULL, modified INTEGER NOT NULL,
    size INTEGER NOT NULL, hash BLOB NOT NULL, refusal TEXT);
CREATE INDEX IF NOT EXISTS files_by_folder ON files(folder);
CREATE INDEX IF NOT EXISTS files_by_module ON files(module);
CREATE INDEX IF NOT EXISTS files_by_subject ON files(subject);
CREATE TABLE IF NOT EXISTS texts(id INTEGER PRIMARY KEY, lines BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS symbols(
    id INTEGER PRIMARY KEY, name TEXT NOT NULL, kind TEXT NOT NULL, container TEXT NOT NULL,
    first INTEGER NOT NULL, head INTEGER NOT NULL, last INTEGER NOT NULL, documentation INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS symbols_by_name ON symbols(name, kind, container, first, head, last, documentation);
CREATE TABLE IF NOT EXISTS chunks(
    id INTEGER PRIMARY KEY, file INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, words TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS chunks_by_file ON chunks(file);
CREATE VIRTUAL TABLE IF NOT EXISTS names USING fts5(
    words, content = chunks, content_rowid = id, detail = none,
    tokenize = "unicode61 remove_diacritics 0 tokenchars '_$'");
CREATE TABLE IF NOT EXISTS frequencies(name TEXT PRIMARY KEY, chunks INTEGER NOT NULL) WITHOUT ROWID;
"""
VERSION = zlib.crc32(TABLES.encode()) >> 1
"""SQLite's `user_version` of a database with these tables."""
