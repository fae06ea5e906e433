(class name: [(constant) @name (scope_resolution name: (_) @name)]) @definition.class
(module name: [(constant) @name (scope_resolution name: (_) @name)]) @definition.module
(method name: (_) @name) @definition.method
(singleton_method name: (_) @name) @definition.method
(alias name: (_) @name) @definition.method
(assignment left: (constant) @name) @definition.constant
((call method: (identifier) @_accessor arguments: (argument_list (simple_symbol) @name)) @definition.field
  (#match? @_accessor "^attr_(reader|writer|accessor)$"))

((call method: (identifier) @_require) @import
  (#match? @_require "^(require|require_relative|include|extend|autoload)$"))
