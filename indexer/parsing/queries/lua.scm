; with the grammar's own tags: functions and methods

(chunk local_declaration: (variable_declaration
  (assignment_statement (variable_list name: (identifier) @name))) @definition.constant)

((function_call name: (identifier) @_require) @import (#eq? @_require "require"))
