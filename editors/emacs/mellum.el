;;; mellum.el --- Grey text from a local code model  -*- lexical-binding: t; -*-

;; Author: The mellum-lsp authors
;; Version: 0.1.0
;; Package-Requires: ((emacs "28.1"))
;; Keywords: convenience, languages, tools
;; URL: https://github.com/mellum-lsp/mellum-lsp
;; SPDX-License-Identifier: Apache-2.0

;;; Commentary:

;; Shows completions of the language server `mellum-lsp' as grey text after
;; point.  The model runs inside that server, on this machine.
;;
;;   (require 'mellum)
;;   (add-hook 'prog-mode-hook #'mellum-mode)
;;
;; While grey text is shown, TAB accepts all of it, M-<right> a word, M-e a
;; line, M-n and M-p go to other candidates, and C-g takes it away.
;; `mellum-complete' asks for a suggestion at once.
;;
;; Eglot manages one server for a buffer, and that is the server of the
;; language.  So this package has a connection of its own, one for all
;; buffers, and lives beside Eglot or lsp-mode: the model is in memory once.

;;; Code:

(require 'cl-lib)
(require 'jsonrpc)
(require 'project)
(require 'subr-x)
(require 'url-util)

(defgroup mellum nil
  "Grey text from a local code model."
  :group 'convenience
  :prefix "mellum-"
  :link '(url-link "https://github.com/mellum-lsp/mellum-lsp"))

(defcustom mellum-server-command '("mellum-lsp" "serve")
  "The program and arguments that start the language server."
  :type '(repeat string))

(defcustom mellum-settings nil
  "Settings of the server, as a property list: (:confidence 0.7 :maxTokens 96).
The README of mellum-lsp has the list.  After a change: `mellum-restart'."
  :type '(plist :key-type symbol :value-type sexp))

(defcustom mellum-idle-delay 0.05
  "Seconds without a key after which a suggestion is asked for.
With nil, only `mellum-complete' asks."
  :type '(choice (number :tag "Seconds") (const :tag "Only on demand" nil)))

(defcustom mellum-language-ids
  '((bash-ts-mode . "shellscript") (c++-mode . "cpp") (c++-ts-mode . "cpp")
    (c-mode . "c") (c-ts-mode . "c") (csharp-mode . "csharp")
    (csharp-ts-mode . "csharp") (css-mode . "css") (css-ts-mode . "css")
    (go-mode . "go") (go-ts-mode . "go") (html-mode . "html")
    (java-mode . "java") (java-ts-mode . "java") (js-mode . "javascript")
    (js-ts-mode . "javascript") (js2-mode . "javascript")
    (js-json-mode . "json") (json-mode . "json") (json-ts-mode . "json")
    (kotlin-mode . "kotlin") (lua-mode . "lua") (lua-ts-mode . "lua")
    (php-mode . "php") (php-ts-mode . "php") (python-mode . "python")
    (python-ts-mode . "python") (ruby-mode . "ruby") (ruby-ts-mode . "ruby")
    (rust-mode . "rust") (rust-ts-mode . "rust") (rustic-mode . "rust")
    (scala-mode . "scala") (sh-mode . "shellscript") (sql-mode . "sql")
    (swift-mode . "swift") (toml-ts-mode . "toml")
    (tsx-ts-mode . "typescriptreact") (typescript-mode . "typescript")
    (typescript-ts-mode . "typescript") (yaml-mode . "yaml")
    (yaml-ts-mode . "yaml"))
  "The LSP language id of each major mode; others are sent by their names."
  :type '(alist :key-type symbol :value-type string))

(defcustom mellum-hide-functions '(mellum-menu-is-open-p)
  "Functions of no argument; where one returns non-nil, no grey text is shown."
  :type '(repeat function))

(defface mellum-suggestion '((t :inherit shadow))
  "Face of grey text.")


;;; What is known of the server and of each buffer

(defvar mellum--connection nil "The connection to the server; nil without one.")
(defvar mellum--ready nil "Non-nil once the server has answered `initialize'.")
(defvar mellum--folders nil "Workspace folders that the server knows.")
(defvar mellum--status nil "What the server said last of itself, a property list.")
(defvar mellum--failures 0 "How often the server has ended by itself, one after the other.")
(defvar mellum--started 0 "When the server was started, as `float-time' has it.")
(defvar mellum--commands (make-hash-table :test #'equal :size 8)
  "Commands of items that were accepted in parts, by their arguments.")

(defvar mellum-mode)
(defvar-local mellum--opened nil "Non-nil where the server has this buffer.")
(defvar-local mellum--version 0 "The number of this buffer's text.")
(defvar-local mellum--changes nil
  "Changes that were not sent yet, the last one first; or `all' for the whole text.")
(defvar-local mellum--before nil "Where the change begins and ends that is under way.")
(defvar-local mellum--timer nil "The timer that will ask.")
(defvar-local mellum--request nil "The number of the request that is under way.")
(defvar-local mellum--overlay nil "The overlay that shows grey text.")
(defvar-local mellum--items nil "The candidates, each (TEXT END COMMAND ITEM).")
(defvar-local mellum--index 0 "Which of them is shown.")
(defvar-local mellum--accepted 0 "How many characters of it were accepted in parts.")
(defvar-local mellum--showing nil "Non-nil while grey text is shown; switches its keys on.")

(defvar mellum-suggestion-map
  (let ((map (make-sparse-keymap)))
    (define-key map (kbd "TAB") #'mellum-accept)
    (define-key map (kbd "<tab>") #'mellum-accept)
    (define-key map (kbd "M-<right>") #'mellum-accept-word)
    (define-key map (kbd "M-e") #'mellum-accept-line)
    (define-key map (kbd "M-n") #'mellum-next)
    (define-key map (kbd "M-p") #'mellum-previous)
    (define-key map (kbd "C-g") #'mellum-dismiss)
    map)
  "Keys while grey text is shown.")

(defvar mellum--emulation-alist `((mellum--showing . ,mellum-suggestion-map))
  "Puts `mellum-suggestion-map' before the maps of minor modes.")


;;; The connection

(defclass mellum--peer (jsonrpc-process-connection) ()
  "The connection to mellum-lsp.")

(defun mellum--uri (path)
  "Return the URI of the file PATH."
  (let ((file (expand-file-name path)))
    (concat "file://"
            (url-hexify-string
             (if (eq system-type 'windows-nt) (concat "/" file) file)
             url-path-allowed-chars))))

(defun mellum--buffer-uri ()
  "Return the URI of this buffer."
  (if buffer-file-name
      (mellum--uri (file-truename buffer-file-name))
    (concat "untitled:" (url-hexify-string (buffer-name)))))

(defun mellum--project-root ()
  "Return the folder of this buffer's project; nil if it has none."
  (when-let ((project (and buffer-file-name (project-current nil default-directory))))
    (expand-file-name (project-root project))))

(defun mellum--folder (root)
  "Return the workspace folder at ROOT as the protocol wants it."
  (list :uri (mellum--uri (directory-file-name root))
        :name (file-name-nondirectory (directory-file-name root))))

(defun mellum--notify (method params)
  "Send the notification METHOD with PARAMS, if the server can take it."
  (when (and mellum--connection (jsonrpc-running-p mellum--connection))
    (condition-case problem
        (jsonrpc-notify mellum--connection method params)
      (error (mellum--ended (error-message-string problem))))))

(defun mellum--connect ()
  "Start the server, unless it runs or ends again and again."
  (unless (or mellum--connection
              (and (>= mellum--failures 3) (< (- (float-time) mellum--started) 60)))
    (let ((program (executable-find (car mellum-server-command)))
          (root (mellum--project-root)))
      (unless program
        (setq mellum--failures 3
              mellum--started (float-time))
        (user-error "Mellum: there is no program %s; set `mellum-server-command'"
                    (car mellum-server-command)))
      (setq mellum--started (float-time)
            mellum--ready nil
            mellum--status nil
            mellum--folders (and root (list root))
            mellum--connection
            (make-instance
             'mellum--peer
             :name "mellum"
             :notification-dispatcher #'mellum--notified
             :request-dispatcher #'mellum--requested
             :on-shutdown (lambda (_) (mellum--ended nil))
             :process
             (lambda ()
               (make-process
                :name "mellum-lsp"
                :command (cons program (cdr mellum-server-command))
                :connection-type 'pipe
                :coding 'utf-8-emacs-unix
                :noquery t
                :stderr (get-buffer-create "*mellum stderr*")))))
      (when-let ((process (get-buffer-process (get-buffer "*mellum stderr*"))))
        (set-process-query-on-exit-flag process nil))
      (mellum--initialize root))))

(defun mellum--initialize (root)
  "Introduce Emacs to the server; ROOT is the first workspace folder, or nil."
  (jsonrpc-async-request
   mellum--connection :initialize
   (list :processId (emacs-pid)
         :clientInfo (list :name "Emacs" :version emacs-version)
         :rootUri (and root (mellum--uri (directory-file-name root)))
         :workspaceFolders (if root (vector (mellum--folder root)) :json-false)
         :initializationOptions (or mellum-settings (make-hash-table))
         :capabilities
         '(:general (:positionEncodings ["utf-32" "utf-16"])
           :workspace (:workspaceFolders t)
           :textDocument (:inlineCompletion (:dynamicRegistration :json-false)
                          :synchronization (:didSave t))))
   :timeout 60
   :success-fn
   (lambda (_)
     (mellum--notify :initialized (make-hash-table))
     (setq mellum--ready t)
     (dolist (buffer (buffer-list))
       (with-current-buffer buffer
         (when (bound-and-true-p mellum-mode)
           (mellum--open)))))
   :error-fn (lambda (problem) (message "Mellum: the server refused: %s" (plist-get problem :message)))
   :timeout-fn (lambda () (message "Mellum: the server does not answer. Run: mellum-lsp doctor"))))

(defun mellum--ended (problem)
  "Take note that the server has ended, because of PROBLEM where it is known."
  (let ((was-wanted mellum--connection))
    (setq mellum--connection nil
          mellum--ready nil
          mellum--folders nil
          mellum--status '(:state "ended"))
    (dolist (buffer (buffer-list))
      (with-current-buffer buffer
        (when (bound-and-true-p mellum-mode)
          (setq mellum--opened nil
                mellum--changes nil
                mellum--request nil)
          (mellum--hide))))
    (force-mode-line-update t)
    (when was-wanted
      (setq mellum--failures
            (if (< (- (float-time) mellum--started) 60) (1+ mellum--failures) 1))
      (message "Mellum: the server has ended%s; %s"
               (if problem (format " (%s)" problem) "")
               (if (< mellum--failures 3)
                   "it is started again with your next key"
                 "it does not stay up. Run: mellum-lsp doctor, then M-x mellum-restart")))))

(defun mellum--notified (_connection method params)
  "Take the notification METHOD with PARAMS from the server."
  (pcase method
    ('mellum/status
     (setq mellum--status params)
     (force-mode-line-update t))
    ('window/showMessage (message "Mellum: %s" (plist-get params :message)))
    ('window/logMessage
     (with-current-buffer (get-buffer-create "*mellum log*")
       (goto-char (point-max))
       (insert (plist-get params :message) "\n")))))

(defun mellum--requested (_connection method _params)
  "Answer the request METHOD of the server."
  (pcase method
    ('workspace/configuration (vector (or mellum-settings (make-hash-table))))
    (_ nil)))


;;; The text of buffers

(defun mellum--sendable (text)
  "Return TEXT with what is no Unicode character replaced, one for one."
  (replace-regexp-in-string "[^\u0000-\ud7ff\ue000-\U0010ffff]" "\ufffd" text t t))

(defun mellum--text (from to)
  "Return what the server gets of the buffer between FROM and TO."
  (mellum--sendable (buffer-substring-no-properties from to)))

(defun mellum--position (place)
  "Return the position PLACE as the protocol wants it: line and code points."
  (save-excursion
    (save-restriction
      (widen)
      (goto-char place)
      (list :line (1- (line-number-at-pos nil t))
            :character (- (point) (line-beginning-position))))))

(defun mellum--place (position)
  "Return the buffer position of the protocol's POSITION."
  (save-excursion
    (save-restriction
      (widen)
      (goto-char (point-min))
      (forward-line (plist-get position :line))
      (min (+ (point) (plist-get position :character)) (line-end-position)))))

(defun mellum--identifier ()
  "Name this buffer to the server."
  (list :uri (mellum--buffer-uri)))

(defun mellum--open ()
  "Give this buffer to the server, and its project as a workspace folder."
  (when (and mellum--ready (not mellum--opened))
    (let ((root (mellum--project-root)))
      (when (and root (not (member root mellum--folders)))
        (push root mellum--folders)
        (mellum--notify :workspace/didChangeWorkspaceFolders
                        (list :event (list :added (vector (mellum--folder root)) :removed [])))))
    (setq mellum--opened (mellum--buffer-uri)
          mellum--changes nil)
    (mellum--notify
     :textDocument/didOpen
     (list :textDocument
           (list :uri mellum--opened
                 :languageId (or (cdr (assq major-mode mellum-language-ids))
                                 (string-remove-suffix "-mode" (symbol-name major-mode)))
                 :version (cl-incf mellum--version)
                 :text (save-restriction (widen) (mellum--text (point-min) (point-max))))))))

(defun mellum--close ()
  "Take this buffer from the server."
  (when mellum--opened
    (mellum--notify :textDocument/didClose (list :textDocument (list :uri mellum--opened)))
    (setq mellum--opened nil)))

(defun mellum--before-change (from to)
  "Remember where the text between FROM and TO, which will change, stands."
  (when (and mellum--opened (not (eq mellum--changes 'all)))
    (setq mellum--before (list from to (mellum--position from) (mellum--position to)))))

(defun mellum--after-change (from to length)
  "Note that LENGTH characters became the text between FROM and TO."
  (when (and mellum--opened (not (eq mellum--changes 'all)))
    (pcase mellum--before
      (`(,(pred (= from)) ,(pred (= (+ from length))) ,start ,end)
       (push (list :range (list :start start :end end) :text (mellum--text from to))
             mellum--changes))
      ;; some commands announce more than they change: what is where is not known any more
      (_ (setq mellum--changes 'all)))
    (setq mellum--before nil)))

(defun mellum--flush ()
  "Send what has changed in this buffer."
  (when (and mellum--opened (not (equal mellum--opened (mellum--buffer-uri))))
    (mellum--close))                    ; it was written to another file
  (mellum--open)
  (when (and mellum--opened mellum--changes)
    (let ((changes (if (eq mellum--changes 'all)
                       (vector (list :text (save-restriction
                                             (widen)
                                             (mellum--text (point-min) (point-max)))))
                     (vconcat (nreverse mellum--changes)))))
      (setq mellum--changes nil)
      (mellum--notify :textDocument/didChange
                      (list :textDocument (list :uri mellum--opened
                                                :version (cl-incf mellum--version))
                            :contentChanges changes)))))

(defun mellum--saved ()
  "Tell the server that this buffer was saved."
  (mellum--flush)
  (when mellum--opened
    (mellum--notify :textDocument/didSave (list :textDocument (list :uri mellum--opened)))))


;;; Asking

(defun mellum-menu-is-open-p ()
  "Return non-nil where a completion menu is open."
  (or completion-in-region-mode
      (bound-and-true-p company-candidates)
      (bound-and-true-p corfu--candidates)))

(defun mellum--wanted-p ()
  "Return non-nil where grey text may be shown."
  (and (not buffer-read-only)
       (not (region-active-p))
       (not executing-kbd-macro)
       (not (run-hook-with-args-until-success 'mellum-hide-functions))))

(defun mellum--cancel ()
  "Give up the request that is under way, and the one that is to come."
  (when (timerp mellum--timer)
    (cancel-timer mellum--timer)
    (setq mellum--timer nil))
  (when mellum--request
    (mellum--notify :$/cancelRequest (list :id mellum--request))
    (setq mellum--request nil)))

(defun mellum--schedule ()
  "Ask once no key was pressed for a moment."
  (mellum--cancel)
  (when mellum-idle-delay
    (let ((buffer (current-buffer)))
      (setq mellum--timer
            (run-at-time mellum-idle-delay nil
                         (lambda ()
                           (when (buffer-live-p buffer)
                             (with-current-buffer buffer
                               (setq mellum--timer nil)
                               (when (and mellum-mode (eq buffer (window-buffer)))
                                 (mellum--ask 2))))))))))

(defun mellum--ask (trigger)
  "Ask for suggestions at point; TRIGGER is 1 for a key, 2 for typing."
  (when (mellum--wanted-p)
    (mellum--connect)
    (mellum--flush)
    (when mellum--opened
      (let* ((buffer (current-buffer)) (point (point)) (tick (buffer-chars-modified-tick))
             (is-current (lambda ()
                           (and (buffer-live-p buffer)
                                (with-current-buffer buffer
                                  (and (= point (point)) (= tick (buffer-chars-modified-tick))))))))
        (setq mellum--request
              (car (jsonrpc--async-request-1
                    mellum--connection :textDocument/inlineCompletion
                    (list :textDocument (mellum--identifier)
                          :position (mellum--position point)
                          :context (list :triggerKind trigger))
                    :timeout 60
                    :success-fn (lambda (answer)
                                  (when (funcall is-current)
                                    (with-current-buffer buffer
                                      (setq mellum--request nil)
                                      (mellum--take answer (= trigger 1)))))
                    :error-fn #'ignore
                    :timeout-fn #'ignore)))))))

(defun mellum--take (answer is-explicit)
  "Show the first item of ANSWER; say so where IS-EXPLICIT and there is none."
  (let* ((found (if (vectorp answer) answer (plist-get answer :items)))
         (items (delq nil (mapcar #'mellum--item found))))
    (cond ((not (mellum--wanted-p)) (mellum--hide))
          (items (setq mellum--items items
                       mellum--index 0
                       mellum--accepted 0)
                 (mellum--show))
          (t (mellum--hide)
             (when is-explicit
               (message "Mellum: nothing to suggest here%s" (mellum--reason)))))))

(defun mellum--reason ()
  "Return why the last answer was empty, if the server tells."
  (if-let ((sentence (plist-get (plist-get mellum--status :silence) :sentence)))
      (format ": %s" sentence)
    ""))

(defun mellum--item (item)
  "Return (TEXT END COMMAND ITEM) for ITEM; nil if it does not fit here."
  (let* ((text (plist-get item :insertText))
         (text (if (stringp text) text (plist-get text :value)))
         (range (plist-get item :range))
         (start (if range (mellum--place (plist-get range :start)) (point)))
         (end (if range (mellum--place (plist-get range :end)) (point)))
         (typed (and (<= start (point)) (buffer-substring-no-properties start (point)))))
    (when (and typed (<= (point) end) (string-prefix-p typed text) (not (string= typed text)))
      (list (substring text (length typed)) (copy-marker end t) (plist-get item :command) item))))


;;; Showing

(defun mellum--show ()
  "Show the candidate that is current, as grey text at point."
  (pcase-let* ((`(,text ,end . ,_) (nth mellum--index mellum--items))
               (shown (propertize text 'face 'mellum-suggestion)))
    (unless (overlayp mellum--overlay)
      (setq mellum--overlay (make-overlay (point) (point) nil t nil))
      (overlay-put mellum--overlay 'priority 100))
    (move-overlay mellum--overlay (point) (max (point) end))
    ;; the cursor stays before the grey text
    (put-text-property 0 1 'cursor t shown)
    (overlay-put mellum--overlay 'after-string shown)
    (overlay-put mellum--overlay 'invisible (< (point) end))
    (setq mellum--showing t)))

(defun mellum--hide ()
  "Take the grey text away."
  (when (overlayp mellum--overlay)
    (delete-overlay mellum--overlay)
    (setq mellum--overlay nil))
  (setq mellum--items nil
        mellum--showing nil))

(defun mellum--follow ()
  "Keep what is shown where it was typed on; return non-nil if it stays.
All candidates that agree with what was typed are kept, too."
  (let ((at (and (overlayp mellum--overlay) (overlay-start mellum--overlay))))
    (when (and at (< at (point)))
      (let* ((typed (buffer-substring-no-properties at (point)))
             (shown (nth mellum--index mellum--items))
             (left (cl-loop for (text . rest) in mellum--items
                            when (and (string-prefix-p typed text) (not (string= typed text)))
                            collect (cons (substring text (length typed)) rest))))
        (when (and (string-prefix-p typed (car shown)) left (not (string= typed (car shown))))
          (setq mellum--index (or (cl-position (cdr shown) left :key #'cdr :test #'eq) 0)
                mellum--items left)
          (mellum--show)
          t)))))

(defun mellum--after-command ()
  "Follow what the user does: type on, move away, or type something else."
  (cond ((memq this-command '(mellum-accept mellum-accept-word mellum-accept-line mellum-next
                              mellum-previous mellum-complete)))
        ((and mellum--showing
              (= (point) (overlay-start mellum--overlay))
              (not mellum--changes)
              (mellum--wanted-p)))      ; nothing has happened
        (t
         (unless (and mellum--showing (mellum--wanted-p) (mellum--follow))
           (mellum--hide))
         (if (and mellum--changes (mellum--typing-p))
             (mellum--schedule)
           (mellum--cancel)))))

(defun mellum--typing-p ()
  "Return non-nil after a command that types or deletes."
  (or (memq this-command '(self-insert-command newline newline-and-indent electric-newline-and-maybe-indent
                           delete-backward-char backward-delete-char-untabify delete-char
                           indent-for-tab-command reindent-then-newline-and-indent open-line
                           python-indent-dedent-line-backspace yank kill-line kill-word
                           backward-kill-word))
      (and (symbolp this-command)
           (string-match-p "insert\\|electric\\|newline\\|delete" (symbol-name this-command)))))


;;; Commands

(defun mellum--report (command)
  "Tell the server that the item with COMMAND was accepted."
  (when (and command mellum--connection)
    (jsonrpc-async-request mellum--connection :workspace/executeCommand
                           (list :command (plist-get command :command)
                                 :arguments (or (plist-get command :arguments) []))
                           :success-fn #'ignore :error-fn #'ignore :timeout-fn #'ignore)))

(defun mellum--insert (length)
  "Accept LENGTH characters of the grey text, or all of it with t."
  (unless mellum--showing
    (user-error "There is no suggestion"))
  (pcase-let ((`(,text ,end ,command ,item) (nth mellum--index mellum--items)))
    (let* ((all (or (eq length t) (>= length (length text))))
           (part (if all text (substring text 0 length)))
           (items mellum--items) (index mellum--index) (accepted mellum--accepted))
      (mellum--hide)
      (undo-boundary)
      (when all
        (delete-region (point) (max (point) end)))
      (let ((electric-indent-mode nil))
        (insert part))
      (undo-boundary)
      (mellum--flush)
      (if all
          (progn (mellum--report command)
                 (mellum--schedule))
        (mellum--notify :textDocument/didPartiallyAcceptCompletion
                        (list :item item :acceptedLength (+ accepted (length part))))
        (setq mellum--items
              (cl-loop for (other . rest) in items
                       when (string-prefix-p part other)
                       collect (cons (substring other (length part)) rest))
              mellum--index (min index (1- (length mellum--items)))
              mellum--accepted (+ accepted (length part)))
        (mellum--show)))))

;;;###autoload
(defun mellum-complete ()
  "Ask for a suggestion at point now, however unsure the model is."
  (interactive)
  (unless mellum-mode
    (mellum-mode 1))
  (mellum--cancel)
  (mellum--ask 1))

(defun mellum-accept ()
  "Accept all of the grey text."
  (interactive)
  (mellum--insert t))

(defun mellum-accept-word ()
  "Accept the next word of the grey text, and what stands before it."
  (interactive)
  (let ((text (car (nth mellum--index mellum--items))))
    (mellum--insert (if (and text (string-match "\\`[^[:alnum:]_]*[[:alnum:]_]+" text))
                        (match-end 0)
                      t))))

(defun mellum-accept-line ()
  "Accept the next line of the grey text."
  (interactive)
  (let ((text (car (nth mellum--index mellum--items))))
    (mellum--insert (if (and text (string-match "\\`\n?[^\n]*" text) (< (match-end 0) (length text)))
                        (match-end 0)
                      t))))

(defun mellum-next (&optional count)
  "Show the next candidate, or the COUNTth after the current one."
  (interactive "p")
  (when mellum--showing
    (setq mellum--index (mod (+ mellum--index (or count 1)) (length mellum--items)))
    (mellum--show)
    (when (length= mellum--items 1)
      (message "Mellum: this is the only suggestion; `mellum-complete' asks for more"))))

(defun mellum-previous (&optional count)
  "Show the previous candidate, or the COUNTth before the current one."
  (interactive "p")
  (mellum-next (- (or count 1))))

(defun mellum-dismiss ()
  "Take the grey text away."
  (interactive)
  (mellum--cancel)
  (mellum--hide))

(defun mellum-restart ()
  "End the server and start it again."
  (interactive)
  (mellum-stop)
  (setq mellum--failures 0)
  (mellum--connect))

(defun mellum-stop ()
  "End the server; the next key in a buffer with `mellum-mode' starts it again."
  (interactive)
  (when-let ((connection mellum--connection))
    (setq mellum--connection nil)       ; so that its end is no failure
    (ignore-errors (jsonrpc-request connection :shutdown nil :timeout 3))
    (ignore-errors (jsonrpc-notify connection :exit nil))
    (ignore-errors (jsonrpc-shutdown connection t))
    (mellum--ended nil)))

(defun mellum-status ()
  "Say what the server says of itself."
  (interactive)
  (message "Mellum: %s"
           (cond ((null mellum--connection) "the server does not run")
                 ((plist-get mellum--status :message))
                 (t "the server is being started"))))

(defun mellum-log ()
  "Show the log of the server."
  (interactive)
  (pop-to-buffer (get-buffer-create "*mellum log*")))

(defun mellum-context ()
  "Show the prompt of a suggestion at point, and where each part of it comes from."
  (interactive)
  (unless buffer-file-name
    (user-error "This buffer has no file"))
  (save-buffer)
  (let ((position (mellum--position (point))))
    (async-shell-command
     (mapconcat #'shell-quote-argument
                (list (car mellum-server-command) "context"
                      (format "%s:%d:%d" buffer-file-name
                              (1+ (plist-get position :line))
                              (1+ (plist-get position :character))))
                " ")
     "*mellum context*")))

(defun mellum--lighter ()
  "Return what the mode line shows."
  (pcase (plist-get mellum--status :state)
    ("ready" " Mellum")
    ((or 'nil "loading") " Mellum…")
    ("disabled" " Mellum-off")
    (_ " Mellum!")))

;;;###autoload
(define-minor-mode mellum-mode
  "Show completions of a local code model as grey text."
  :lighter (:eval (mellum--lighter))
  (cond
   (mellum-mode
    (add-hook 'before-change-functions #'mellum--before-change nil t)
    (add-hook 'after-change-functions #'mellum--after-change nil t)
    (add-hook 'post-command-hook #'mellum--after-command nil t)
    (add-hook 'after-save-hook #'mellum--saved nil t)
    (add-hook 'kill-buffer-hook #'mellum--close nil t)
    (add-hook 'change-major-mode-hook #'mellum--close nil t)
    (add-to-list 'emulation-mode-map-alists 'mellum--emulation-alist)
    (condition-case problem
        (progn (mellum--connect)
               (mellum--open))
      (user-error (message "%s" (error-message-string problem)))))
   (t
    (mellum--cancel)
    (mellum--hide)
    (mellum--close)
    (remove-hook 'before-change-functions #'mellum--before-change t)
    (remove-hook 'after-change-functions #'mellum--after-change t)
    (remove-hook 'post-command-hook #'mellum--after-command t)
    (remove-hook 'after-save-hook #'mellum--saved t)
    (remove-hook 'kill-buffer-hook #'mellum--close t)
    (remove-hook 'change-major-mode-hook #'mellum--close t))))

(defun mellum-toggle ()
  "Switch grey text on or off in all buffers; off ends the server."
  (interactive)
  (let ((on (not (cl-some (lambda (buffer) (buffer-local-value 'mellum-mode buffer)) (buffer-list)))))
    (if on
        (dolist (buffer (buffer-list))
          (with-current-buffer buffer
            (when (derived-mode-p 'prog-mode)
              (mellum-mode 1))))
      (dolist (buffer (buffer-list))
        (with-current-buffer buffer
          (when mellum-mode
            (mellum-mode -1))))
      (mellum-stop))
    (message "Mellum: %s" (if on "on" "off"))))

(provide 'mellum)
;;; mellum.el ends here
