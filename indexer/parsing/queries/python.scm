; with the grammar's own tags: top-level constants, classes and functions

(module (expression_statement (assignment left: (identifier) @name type: (_)) @definition.constant))

(class_definition
  body: (block (expression_statement (assignment left: (identifier) @name) @definition.field)))

((function_definition
  name: (identifier) @_constructor
  body: (block (expression_statement
    (assignment left: (attribute object: (identifier) @_self attribute: (identifier) @name)) @definition.field)))
  (#eq? @_constructor "__init__")
  (#eq? @_self "self"))

[(import_statement) (import_from_statement)] @import
