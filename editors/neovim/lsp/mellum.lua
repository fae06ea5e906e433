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
  handlers = {
    ['mellum/status'] = function(_, status, context)
      require('mellum_lsp.status').take(context.client_id, status)
    end,
  },
  on_exit = function(code, signal, client_id)
    require('mellum_lsp.status').ended(client_id, code, signal)
  end,
}
