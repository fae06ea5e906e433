(table [(bare_key) (dotted_key)] @name) @definition.class
(document (pair (bare_key) @name) @definition.field)
(table (pair (bare_key) @name) @definition.field)
