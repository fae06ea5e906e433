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
;; line, M-n and M-p go to other candidates, and C-g takes it away.  Without
;; grey text, these keys do what they always did.  `mellum-complete' asks for
;; a suggestion at once, `mellum-toggle' switches everything off and on.
;;
;; Eglot manages one server for a buffer, and that is the server of the
;; language.  So this package has a connection of its own, one for all
;; buffers, and lives beside Eglot or lsp-mode: the model is in memory once.

;;; Code:

(require 'cl-lib)
(require 'eieio)
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
Lists are vectors, false is `:json-false'.  The README of mellum-lsp names
them all.  After a change: `mellum-restart'."
  :type '(plist :key-type symbol :value-type sexp))

(defcustom mellum-idle-delay 0.05
  "Seconds without a key after which a suggestion is asked for.
With nil, only `mellum-complete' asks."
  :type '(choice (number :tag "Seconds") (const :tag "Only on demand" nil)))

(defcustom mellum-buffer-limit 2000000
  "Buffers with more characters than this are not sent to the server."
  :type 'natnum)

(defcustom mellum-language-ids
  '(("bash" . "shellscript") ("c++" . "cpp") ("cperl" . "perl") ("emacs-lisp" . "elisp")
    ("js" . "javascript") ("js-json" . "json") ("js-jsx" . "javascriptreact")
    ("js2" . "javascript") ("rustic" . "rust") ("sh" . "shellscript")
    ("tsx" . "typescriptreact"))
  "LSP language ids of major modes, by their names without `-mode' and `-ts-mode'.
Where a mode is not here, that name is the language id."
  :type '(alist :key-type string :value-type string))

(defcustom mellum-hide-functions '(mellum-menu-is-open-p mellum-other-keys-p)
  "Functions of no argument; where one returns non-nil, no grey text is shown."
  :type '(repeat function))

(defface mellum-suggestion '((t :inherit shadow))
  "Face of grey text.")


;;; What is known of the server and of each buffer

(defvar mellum--connection nil "The connection to the server; nil without one.")
(defvar mellum--ready nil "Non-nil once the server has answered `initialize'.")
(defvar mellum--folders nil "Workspace folders that the server knows.")
(defvar mellum--status nil "What the server said last of itself, a property list.")
(defvar mellum--off nil "Non-nil after `mellum-toggle' has switched everything off.")
(defvar mellum--started 0 "When the server was started, as `float-time' has it.")
(defvar mellum--failures 0
  "How often the server has ended within a minute after its start, in a row.")

(defvar mellum-mode)
(defvar-local mellum--opened nil "The URI under which the server has this buffer.")
(defvar-local mellum--version 0 "The number of this buffer's text.")
(defvar-local mellum--changes nil
  "Changes that were not sent yet, the last one first; or `all' for the whole text.")
(defvar-local mellum--before nil "Where the change that is under way begins and ends.")
(defvar-local mellum--tick nil "State of the text that `mellum--changes' leads to.")
(defvar-local mellum--last-tick nil "State of the text after the last command.")
(defvar-local mellum--timer nil "The timer that will ask.")
(defvar-local mellum--request nil "The number of the request that is under way.")
(defvar-local mellum--missed nil "Where a model that was still loading was asked.")
(defvar-local mellum--overlay nil "The overlay that shows grey text.")
(defvar-local mellum--at nil "A marker where the grey text begins.")
(defvar-local mellum--covered 0 "How many characters after point it stands for, too.")
(defvar-local mellum--items nil "The candidates, each (TEXT END COMMAND ITEM).")
(defvar-local mellum--index 0 "Which of them is shown.")
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
  "To put `mellum-suggestion-map' before the maps of minor modes.")


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
      (mellum--uri (or buffer-file-truename buffer-file-name))
    (concat "untitled:" (url-hexify-string (buffer-name)))))

(defun mellum--project-root ()
  "Return the folder of this buffer's project; nil if it has none."
  (when-let ((project (and buffer-file-name (project-current nil default-directory))))
    (file-truename (project-root project))))

(defun mellum--folder (root)
  "Return the workspace folder at ROOT as the protocol wants it."
  (list :uri (mellum--uri (directory-file-name root))
        :name (file-name-nondirectory (directory-file-name root))))

(defun mellum--notify (method params)
  "Send the notification METHOD with PARAMS, if the server can take it."
  (when (and mellum--connection (jsonrpc-running-p mellum--connection))
    (ignore-errors                      ; it may end right now
      (jsonrpc-notify mellum--connection method params))))

(defun mellum--connect ()
  "Start the server where it is wanted, not there, and likely to stay up."
  (unless (or mellum--connection
              mellum--off
              (and (>= mellum--failures 3) (< (- (float-time) mellum--started) 60)))
    (let ((program (executable-find (car mellum-server-command))))
      (setq mellum--started (float-time))
      (if program
          (mellum--start (cons program (cdr mellum-server-command)))
        (setq mellum--failures 3        ; look again in a minute
              mellum--status
              (list :state "failed"
                    :message (format "There is no program %s: install it, or set `mellum-server-command'"
                                     (car mellum-server-command))))
        (message "Mellum: %s" (plist-get mellum--status :message))))))

(defun mellum--start (command)
  "Start the server by COMMAND, with this buffer's project as its first folder."
  (let ((root (mellum--project-root))
        (default-directory (expand-file-name "/")))
    (setq mellum--ready nil
          mellum--status nil
          mellum--folders (and root (list root))
          mellum--connection
          (apply
           #'make-instance 'mellum--peer
           :name "mellum"
           :notification-dispatcher #'mellum--notified
           :request-dispatcher #'mellum--requested
           :on-shutdown #'mellum--ended
           :process
           (lambda ()
             (make-process :name "mellum-lsp"
                           :command command
                           :connection-type 'pipe
                           :coding 'utf-8-emacs-unix
                           :noquery t
                           ;; `jsonrpc' wants this very name
                           :stderr (get-buffer-create "*mellum stderr*")))
           ;; each message would be written to a buffer, too, and laid out there
           (if (memq '-events-buffer-config
                     (mapcar #'eieio-slot-descriptor-name (eieio-class-slots 'jsonrpc-connection)))
               '(:events-buffer-config (:size 0))
             '(:events-buffer-scrollback-size 0))))
    (mellum--initialize root)))

(defun mellum--initialize (root)
  "Introduce Emacs to the server; ROOT is the first workspace folder, or nil."
  (jsonrpc-async-request
   mellum--connection :initialize
   (list :processId (emacs-pid)
         :clientInfo (list :name "Emacs" :version emacs-version)
         :rootUri (and root (mellum--uri (directory-file-name root)))
         :workspaceFolders (and root (vector (mellum--folder root)))
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
         (when (and (bound-and-true-p mellum-mode) (get-buffer-window buffer t))
           (mellum--open)))))
   :error-fn (lambda (problem) (message "Mellum: the server refused: %s" (plist-get problem :message)))
   :timeout-fn (lambda () (message "Mellum: the server does not answer.  Run: mellum-lsp doctor"))))

(defun mellum--ended (connection)
  "Take note that the server of CONNECTION has ended."
  (when (eq connection mellum--connection) ; else it was stopped on purpose
    (setq mellum--failures (if (< (- (float-time) mellum--started) 60) (1+ mellum--failures) 1))
    (let ((what (if (< mellum--failures 3)
                    "The server has ended; your next change starts it again"
                  "The server does not stay up.  Run: mellum-lsp doctor, then M-x mellum-restart")))
      (mellum--forget what)
      (message "Mellum: %s" what))))

(defun mellum--forget (what)
  "Forget the connection; WHAT becomes the status."
  (setq mellum--connection nil
        mellum--ready nil
        mellum--folders nil
        mellum--status (list :state "ended" :message what))
  (dolist (buffer (buffer-list))
    (with-current-buffer buffer
      (when (bound-and-true-p mellum-mode)
        (mellum--dismiss)
        (setq mellum--opened nil
              mellum--changes nil))))
  (force-mode-line-update t))

(defun mellum--notified (_connection method params)
  "Take the notification METHOD with PARAMS from the server."
  (pcase method
    ('mellum/status
     (setq mellum--status params)
     (force-mode-line-update t)
     (when (equal (plist-get params :state) "ready")
       (with-current-buffer (window-buffer (selected-window))
         (when (and (bound-and-true-p mellum-mode) (equal mellum--missed (mellum--here)))
           (mellum--ask 2)))))
    ('window/showMessage (message "Mellum: %s" (plist-get params :message)))
    ('window/logMessage
     (with-current-buffer (get-buffer-create "*mellum log*")
       (goto-char (point-max))
       (insert (plist-get params :message) "\n")))))

(defun mellum--requested (_connection method _params)
  "Answer the request METHOD of the server."
  (if (eq method 'workspace/configuration)
      (vector (or mellum-settings (make-hash-table)))
    (jsonrpc-error :code -32601 :message (format "Emacs does not know %s" method))))


;;; The text of buffers

(defun mellum--sendable (text)
  "Return TEXT with what the server cannot take or counts otherwise replaced.
These are raw bytes, and carriage returns, which would begin a line there.
Each character becomes one character."
  (replace-regexp-in-string
   "\r" " " (replace-regexp-in-string "[^\u0000-\ud7ff\ue000-\U0010ffff]" "\ufffd" text t t) t t))

(defun mellum--text (from to)
  "Return what the server gets of the buffer between FROM and TO."
  (mellum--sendable (buffer-substring-no-properties from to)))

(defun mellum--whole-text ()
  "Return what the server gets of the whole buffer."
  (save-restriction
    (widen)
    (mellum--text (point-min) (point-max))))

(defun mellum--here ()
  "Return where point is, and in which state of the text."
  (cons (point) (buffer-chars-modified-tick)))

(defun mellum--position (place)
  "Return the position PLACE as the protocol wants it: line and code points."
  (save-excursion
    (save-restriction
      (widen)
      (goto-char place)
      (let ((inhibit-field-text-motion t))
        (list :line (1- (line-number-at-pos nil t))
              :character (- (point) (line-beginning-position)))))))

(defun mellum--place (position)
  "Return the buffer position of the protocol's POSITION."
  (save-excursion
    (save-restriction
      (widen)
      (goto-char (point-min))
      (forward-line (plist-get position :line))
      (let ((inhibit-field-text-motion t))
        (min (+ (point) (plist-get position :character)) (line-end-position))))))

(defun mellum--servable-p ()
  "Return non-nil if the server can work with this buffer."
  (and enable-multibyte-characters
       (<= (buffer-size) mellum-buffer-limit)
       (not (file-remote-p default-directory))))

(defun mellum--language ()
  "Return the LSP language id of this buffer."
  (let ((name (replace-regexp-in-string "\\(-ts\\)?-mode\\'" "" (symbol-name major-mode))))
    (alist-get name mellum-language-ids name nil #'equal)))

(defun mellum--open ()
  "Give this buffer to the server, and its project as a workspace folder."
  (when (and mellum--ready (not mellum--opened) (mellum--servable-p))
    (let ((root (mellum--project-root)))
      (when (and root (not (member root mellum--folders)))
        (push root mellum--folders)
        (mellum--notify :workspace/didChangeWorkspaceFolders
                        (list :event (list :added (vector (mellum--folder root)) :removed [])))))
    (setq mellum--opened (mellum--buffer-uri)
          mellum--changes nil
          mellum--tick (buffer-chars-modified-tick))
    (mellum--notify
     :textDocument/didOpen
     (list :textDocument
           (list :uri mellum--opened
                 :languageId (mellum--language)
                 :version (cl-incf mellum--version)
                 :text (mellum--whole-text))))))

(defun mellum--close ()
  "Take this buffer from the server."
  (when mellum--opened
    (mellum--notify :textDocument/didClose (list :textDocument (list :uri mellum--opened)))
    (setq mellum--opened nil)))

(defun mellum--before-change (from to)
  "Remember where the text between FROM and TO, which will change, stands."
  (when (and mellum--opened (not (eq mellum--changes 'all)))
    (with-demoted-errors "Mellum: %S"
      (setq mellum--before (list from to (mellum--position from) (mellum--position to)
                                 (buffer-chars-modified-tick))))))

(defun mellum--after-change (from to length)
  "Note that LENGTH characters became the text between FROM and TO."
  (when (and mellum--opened (not (eq mellum--changes 'all)))
    (with-demoted-errors "Mellum: %S"
      (pcase mellum--before
        (`(,(pred (= from)) ,(pred (= (+ from length))) ,start ,end ,(pred (eql mellum--tick)))
         (push (list :range (list :start start :end end) :text (mellum--text from to))
               mellum--changes))
        ;; some commands announce more than they change, others change without a word
        (_ (setq mellum--changes 'all)))
      (setq mellum--before nil
            mellum--tick (buffer-chars-modified-tick)))))

(defun mellum--flush ()
  "Send what has changed in this buffer."
  (unless (and (equal mellum--opened (mellum--buffer-uri)) (mellum--servable-p))
    (mellum--close))                    ; it was written to another file, or has grown too long
  (mellum--open)
  (when mellum--opened
    (unless (eql mellum--tick (buffer-chars-modified-tick))
      (setq mellum--changes 'all
            mellum--tick (buffer-chars-modified-tick)))
    (when mellum--changes
      (let ((changes (if (eq mellum--changes 'all)
                         (vector (list :text (mellum--whole-text)))
                       (vconcat (nreverse mellum--changes)))))
        (setq mellum--changes nil)
        (mellum--notify :textDocument/didChange
                        (list :textDocument (list :uri mellum--opened
                                                  :version (cl-incf mellum--version))
                              :contentChanges changes))))))

(defun mellum--saved ()
  "Tell the server that this buffer was saved."
  (with-demoted-errors "Mellum: %S"
    (mellum--flush)
    (when mellum--opened
      (mellum--notify :textDocument/didSave (list :textDocument (list :uri mellum--opened))))))


;;; Asking

(defun mellum-menu-is-open-p ()
  "Return non-nil where a completion menu is open."
  (or completion-in-region-mode
      (bound-and-true-p company-candidates)
      (bound-and-true-p corfu--candidates)))

(defun mellum-other-keys-p ()
  "Return non-nil where keys do not type one text: Evil states, many cursors."
  (or (bound-and-true-p multiple-cursors-mode)
      (and (bound-and-true-p evil-local-mode)
           (not (memq (bound-and-true-p evil-state) '(insert replace emacs))))))

(defun mellum--wanted-p ()
  "Return non-nil where grey text may be shown."
  (and mellum-mode
       (not mellum--off)
       (not buffer-read-only)
       (not (region-active-p))
       (not executing-kbd-macro)
       (eq (current-buffer) (window-buffer (selected-window)))
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
                               (mellum--ask 2)))))))))

(defun mellum--ask (trigger &optional known)
  "Ask for suggestions at point; TRIGGER is 1 for a key, 2 for typing.
With KNOWN, the text of a candidate, show another one than that."
  (when (mellum--wanted-p)
    (mellum--connect)
    (mellum--flush)
    (let ((buffer (current-buffer)) (here (mellum--here)))
      (setq mellum--missed (and (not (equal (plist-get mellum--status :state) "ready")) here))
      (when mellum--opened
        (setq mellum--request
              ;; the public function does not return the number, which it takes to cancel
              (car (jsonrpc--async-request-1
                    mellum--connection :textDocument/inlineCompletion
                    (list :textDocument (list :uri mellum--opened)
                          :position (mellum--position (point))
                          :context (list :triggerKind trigger))
                    :timeout 60
                    :success-fn (lambda (answer)
                                  (when (buffer-live-p buffer)
                                    (with-current-buffer buffer
                                      (when (equal here (mellum--here))
                                        (setq mellum--request nil)
                                        (mellum--take answer (= trigger 1) known)))))
                    :error-fn #'ignore
                    :timeout-fn #'ignore)))))))

(defun mellum--take (answer is-explicit known)
  "Show the first item of ANSWER whose text is not KNOWN.
Say so where IS-EXPLICIT and there is none."
  (let* ((found (if (vectorp answer) answer (plist-get answer :items)))
         (items (delq nil (mapcar #'mellum--item found)))
         (index (cl-position known items :key #'car :test-not #'equal)))
    (cond ((not (mellum--wanted-p)) (mellum--hide))
          (items (setq mellum--items items
                       mellum--index (or index 0))
                 (mellum--show)
                 (mellum--notify :textDocument/didShowCompletion
                                 (list :item (nth 3 (nth mellum--index items))))
                 (unless index
                   (message "Mellum: there is no other suggestion")))
          (t (mellum--hide)
             (when is-explicit
               (mellum--say-why))))))

(defun mellum--say-why ()
  "Say why the server had nothing to show."
  (jsonrpc-async-request
   mellum--connection :mellum/status (make-hash-table)
   :success-fn (lambda (status)
                 (message "Mellum: %s" (or (plist-get (plist-get status :silence) :sentence)
                                           "nothing to suggest here")))
   :error-fn #'ignore
   :timeout-fn #'ignore))

(defun mellum--item (item)
  "Return (TEXT END COMMAND ITEM) for ITEM; nil if it does not fit here."
  (let* ((text (plist-get item :insertText))
         (range (plist-get item :range))
         (start (if range (mellum--place (plist-get range :start)) (point)))
         (end (if range (mellum--place (plist-get range :end)) (point)))
         (typed (and (<= start (point) end) (buffer-substring-no-properties start (point)))))
    (when (and typed (stringp text) (string-prefix-p typed text))
      (let ((rest (substring text (length typed))))
        (unless (string= rest (buffer-substring-no-properties (point) end))
          (list rest (copy-marker end t) (plist-get item :command) item))))))


;;; Showing

(defun mellum--after-point (end)
  "Return the text from point to END."
  (buffer-substring-no-properties (point) (max (point) end)))

(defun mellum--show ()
  "Show the candidate that is current, as grey text at point."
  (pcase-let* ((`(,text ,end . ,_) (nth mellum--index mellum--items))
               (covered (mellum--after-point end))
               (stays (string-suffix-p covered text))
               (grey (if stays (substring text 0 (- (length text) (length covered))) text))
               (shown (propertize grey 'face 'mellum-suggestion)))
    (unless (overlayp mellum--overlay)
      (setq mellum--overlay (make-overlay (point) (point)))
      (overlay-put mellum--overlay 'priority 100))
    (overlay-put mellum--overlay 'window (selected-window))
    (if (and stays (eolp))
        (progn
          (put-text-property 0 1 'cursor t shown) ; the cursor stays before it
          (move-overlay mellum--overlay (point) (point))
          (overlay-put mellum--overlay 'display nil)
          (overlay-put mellum--overlay 'after-string shown))
      ;; Within a line the cursor is drawn after such a string.  So show it
      ;; in the place of what it replaces, or of the next character and that.
      (move-overlay mellum--overlay (point) (if stays (1+ (point)) end))
      (overlay-put mellum--overlay 'after-string nil)
      (overlay-put mellum--overlay 'display
                   (if stays (concat shown (buffer-substring (point) (1+ (point)))) shown)))
    (setq mellum--at (copy-marker (point))
          mellum--covered (length covered)
          mellum--showing t)))

(defun mellum--hide ()
  "Take the grey text away."
  (when (overlayp mellum--overlay)
    (delete-overlay mellum--overlay)
    (setq mellum--overlay nil))
  (setq mellum--items nil
        mellum--showing nil))

(defun mellum--dismiss ()
  "Take the grey text away, and ask for no other."
  (mellum--cancel)
  (mellum--hide))

(defun mellum--brings-p (text covered)
  "Return non-nil if all characters of COVERED come in TEXT, in their order."
  (let ((from 0))
    (cl-every (lambda (char)
                (when-let ((at (cl-position char text :start from)))
                  (setq from (1+ at))))
              covered)))

(defun mellum--index-of (item candidates)
  "Return the index of the server's ITEM among CANDIDATES."
  (cl-position item candidates :key (lambda (candidate) (nth 3 candidate)) :test #'eq))

(defun mellum--follow ()
  "Keep what is shown where it was typed on; return non-nil if it stays.
All candidates that agree with what was typed are kept, too.  What else came
after point meanwhile is a closing bracket, which the text has to bring."
  (when (< mellum--at (point))
    (let* ((typed (buffer-substring-no-properties mellum--at (point)))
           (shown (nth mellum--index mellum--items))
           (left (cl-loop for (text end . rest) in mellum--items
                          for covered = (mellum--after-point end)
                          for remaining = (and (string-prefix-p typed text)
                                               (substring text (length typed)))
                          when (and remaining
                                    (not (string= remaining covered))
                                    (or (<= (length covered) mellum--covered)
                                        (mellum--brings-p remaining covered)))
                          collect (cons remaining (cons end rest))))
           (index (mellum--index-of (nth 3 shown) left)))
      (when index
        (setq mellum--items left
              mellum--index index)
        (mellum--show)
        t))))

(defun mellum--after-command ()
  "Follow what the user does: type on, move away, or type something else."
  (with-demoted-errors "Mellum: %S"
    (let* ((tick (buffer-chars-modified-tick))
           (changed (not (eql tick mellum--last-tick))))
      (setq mellum--last-tick tick)
      (unless (memq this-command '(mellum-accept mellum-accept-word mellum-accept-line
                                   mellum-next mellum-previous mellum-complete))
        (unless (and mellum--showing
                     (mellum--wanted-p)
                     (if changed (mellum--follow) (= (point) mellum--at)))
          (mellum--hide))
        (cond ((and changed (not (memq this-command '(undo undo-only undo-redo))))
               (mellum--schedule))
              ((not mellum--showing)
               (mellum--cancel)))))))

(defun mellum--menu-opened (&rest _)
  "Make room for a completion menu."
  (when mellum-mode
    (mellum--dismiss)))

(defun mellum--window-left (window)
  "Take the grey text away from WINDOW where another one was selected."
  (unless (eq window (selected-window))
    (with-current-buffer (window-buffer window)
      (mellum--dismiss))))


;;; Commands

(defun mellum--report (command)
  "Tell the server that the item with COMMAND was accepted."
  (when (and command mellum--connection)
    (jsonrpc-async-request mellum--connection :workspace/executeCommand
                           (list :command (plist-get command :command)
                                 :arguments (or (plist-get command :arguments) []))
                           :success-fn #'ignore :error-fn #'ignore :timeout-fn #'ignore)))

(defun mellum--utf-16-length (text)
  "Return how many UTF-16 units TEXT has."
  (/ (length (encode-coding-string text 'utf-16le)) 2))

(defun mellum--insert (pattern)
  "Accept what matches PATTERN at the beginning of the grey text, or all of it."
  (unless mellum--showing
    (user-error "There is no suggestion"))
  (pcase-let* ((`(,text ,end ,command ,item) (nth mellum--index mellum--items))
               (part (if (and pattern (string-match pattern text)) (match-string 0 text) text))
               (items mellum--items))
    (mellum--hide)
    (undo-boundary)
    (when (string= part text)
      (delete-region (point) (max (point) end)))
    (insert part)
    (undo-boundary)
    (mellum--flush)
    (if (string= part text)
        (progn (mellum--report command)
               (mellum--schedule))
      (let ((whole (plist-get item :insertText)))
        (mellum--notify
         :textDocument/didPartiallyAcceptCompletion
         (list :item item
               :acceptedLength (mellum--utf-16-length
                                (substring whole 0 (- (length part) (length text)))))))
      (setq mellum--items
            (cl-loop for (other . rest) in items
                     when (and (string-prefix-p part other) (not (string= part other)))
                     collect (cons (substring other (length part)) rest))
            mellum--index (mellum--index-of item mellum--items))
      (mellum--show))))

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
  (mellum--insert nil))

(defun mellum-accept-word ()
  "Accept the next word of the grey text, and what stands before it."
  (interactive)
  (mellum--insert "\\`[^[:alnum:]_]*[[:alnum:]_]+"))

(defun mellum-accept-line ()
  "Accept the next line of the grey text."
  (interactive)
  (mellum--insert "\\`\n?[^\n]*"))

(defun mellum-next (&optional count)
  "Show the next candidate, or the COUNTth after the current one.
Where there is only one, ask for more."
  (interactive "p")
  (unless mellum--showing
    (user-error "There is no suggestion"))
  (if (cdr mellum--items)
      (progn
        (setq mellum--index (mod (+ mellum--index (or count 1)) (length mellum--items)))
        (mellum--show)
        (mellum--notify :textDocument/didShowCompletion
                        (list :item (nth 3 (nth mellum--index mellum--items)))))
    (mellum--cancel)
    (mellum--ask 1 (caar mellum--items))))

(defun mellum-previous (&optional count)
  "Show the previous candidate, or the COUNTth before the current one."
  (interactive "p")
  (mellum-next (- (or count 1))))

(defun mellum-dismiss ()
  "Take the grey text away."
  (interactive)
  (mellum--dismiss))

(defun mellum-restart ()
  "End the server and start it again."
  (interactive)
  (mellum-stop)
  (setq mellum--off nil
        mellum--failures 0)
  (mellum--connect))

(defun mellum-stop ()
  "End the server until the next change in a buffer with `mellum-mode'."
  (interactive)
  (when-let ((connection mellum--connection))
    (mellum--forget "The server was stopped")
    (let* ((process (jsonrpc--process connection))
           (kill (lambda (&rest _)
                   (when (process-live-p process)
                     (delete-process process)))))
      (run-at-time 10 nil kill)
      (jsonrpc-async-request connection :shutdown nil
                             :success-fn (lambda (_) (ignore-errors (jsonrpc-notify connection :exit nil)))
                             :error-fn kill
                             :timeout-fn kill))))

(defun mellum-toggle ()
  "Switch grey text off or on in all buffers; off ends the server, too."
  (interactive)
  (setq mellum--off (not mellum--off)
        mellum--failures 0)
  (if mellum--off
      (mellum-stop)
    (when mellum-mode
      (mellum--connect)))
  (force-mode-line-update t)
  (message "Mellum: %s" (if mellum--off "off" "on")))

(defun mellum-status ()
  "Tell how the server is, in one sentence."
  (interactive)
  (message "Mellum: %s"
           (cond (mellum--off "switched off; M-x mellum-toggle switches it on")
                 ((plist-get mellum--status :message))
                 (mellum--connection "the server is being started")
                 (t "the server does not run"))))

(defun mellum-log ()
  "Show the log of the server."
  (interactive)
  (pop-to-buffer (get-buffer-create "*mellum log*")))

(defun mellum-context ()
  "Show the prompt of a suggestion at point, and where each part of it comes from."
  (interactive)
  (unless buffer-file-name
    (user-error "This buffer has no file"))
  (when (and (buffer-modified-p) (y-or-n-p "The prompt is made from the file; save it? "))
    (save-buffer))
  (let* ((position (mellum--position (point)))
         (place (format "%s:%d:%d" buffer-file-name
                        (1+ (plist-get position :line)) (1+ (plist-get position :character))))
         (program (seq-take-while (lambda (word) (not (equal word "serve"))) mellum-server-command)))
    (async-shell-command
     (mapconcat #'shell-quote-argument (append program (list "context" place)) " ")
     "*mellum context*")))

(defun mellum--lighter ()
  "Return the text for the mode line."
  (if mellum--off
      " Mellum-off"
    (pcase (plist-get mellum--status :state)
      ("ready" " Mellum")
      ("disabled" " Mellum-off")
      ((or 'nil "loading") " Mellum…")
      (_ " Mellum!"))))

(defconst mellum--hooks
  '((before-change-functions . mellum--before-change)
    (after-change-functions . mellum--after-change)
    (post-command-hook . mellum--after-command)
    (after-save-hook . mellum--saved)
    (kill-buffer-hook . mellum--leave)
    (change-major-mode-hook . mellum--leave)
    (completion-in-region-mode-hook . mellum--menu-opened)
    (company-completion-started-hook . mellum--menu-opened)
    (window-selection-change-functions . mellum--window-left))
  "What `mellum-mode' does on which hook of its buffer.")

(defun mellum--leave ()
  "Take the grey text from this buffer, and this buffer from the server."
  (mellum--dismiss)
  (mellum--close))

;;;###autoload
(define-minor-mode mellum-mode
  "Show completions of a local code model as grey text."
  :lighter (:eval (mellum--lighter))
  (pcase-dolist (`(,hook . ,function) mellum--hooks)
    (if mellum-mode
        (add-hook hook function nil t)
      (remove-hook hook function t)))
  (if (not mellum-mode)
      (mellum--leave)
    (add-to-list 'emulation-mode-map-alists 'mellum--emulation-alist)
    (setq mellum--last-tick (buffer-chars-modified-tick))
    (mellum--connect)
    (mellum--open)))

(provide 'mellum)
;;; mellum.el ends here
