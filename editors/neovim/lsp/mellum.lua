-- How to start the server and for which files. Neovim finds this by its name: `vim.lsp.enable('mellum')`.

return {
  cmd = { 'mellum-lsp', 'serve' },
  filetypes = {
    'c',
    'cpp',
    'go',
    'java',
    'javascript',
    'javascriptreact',
    'python',
    'rust',
    'typescript',
    'typescriptreact',
  },
  root_markers = { '.git' },
  -- Neovim 0.11 does not say so by itself.
  capabilities = { textDocument = { inlineCompletion = { dynamicRegistration = false } } },
}
