-- `:checkhealth mellum_lsp`

local M = {}

function M.check()
  local health = vim.health
  health.start('mellum-lsp')
  if vim.fn.has('nvim-0.12') == 1 then
    health.ok('Neovim shows inline completions itself')
  elseif vim.fn.has('nvim-0.11') == 1 then
    health.ok('Neovim is 0.11: this plugin shows inline completions')
  else
    health.error('Neovim is older than 0.11', 'Install Neovim 0.11 or newer')
    return
  end
  local command = vim.lsp.config.mellum and vim.lsp.config.mellum.cmd
  local program = type(command) == 'table' and command[1] or 'mellum-lsp'
  if vim.fn.executable(program) == 0 then
    health.error(
      ('There is no program `%s`'):format(program),
      "Install it (`pipx install .` in a clone), or name its full path in `setup({ server = { cmd = ... } })`"
    )
    return
  end
  local done = vim.system({ program, '--version' }, { text = true }):wait(20000)
  health.ok(('`%s` is there: %s'):format(program, vim.trim(done.stdout or '')))
  if not vim.lsp.is_enabled('mellum') then
    health.warn('The server is not switched on', "Call `require('mellum_lsp').setup()`, or `:Mellum toggle`")
  end
  local clients = vim.lsp.get_clients({ name = 'mellum' })
  if #clients == 0 then
    health.info('No server is running: open a file of one of its types')
  end
  for _, client in ipairs(clients) do
    local answer = client:request_sync('mellum/status', vim.empty_dict(), 5000, 0)
    local status = answer and answer.result
    if not status then
      health.error('The server does not answer', 'See `:Mellum log`')
    elseif status.state == 'ready' or status.state == 'loading' then
      health.ok(status.message)
    else
      health.error(status.message)
    end
  end
end

return M
