"""Where the native engine keeps its bytes: partition logs and journals, in memory or in a folder.

The rule of this room: what was confirmed is there, unchanged, or opening fails loudly and says where. It
knows offsets, batches and opaque journal entries; it does not know topics' settings, groups, queues or time.
Retention, compaction and locking are decided by its callers.

`store` is the door (`MemoryStore`, `FolderStore`), behind it `logs` and `journals`, both on `frames` (one
file of checksummed frames); `batches` is the record batch, `layout` the folder's identity and names,
`markers` numbers in file names, `disk` the only place that flushes, replaces small files and translates
`OSError`; `lock` says which process owns a folder.
"""
